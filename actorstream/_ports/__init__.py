"""A value's way: from ``publish()`` to every subscriber."""
