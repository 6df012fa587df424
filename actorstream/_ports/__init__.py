"""Ports: the path of a value from ``publish()`` to every subscriber."""
