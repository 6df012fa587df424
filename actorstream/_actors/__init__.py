"""A message's way: from ``ask()`` or ``tell()`` to an actor's handler."""
