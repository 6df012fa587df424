"""The path of a message: from ``ask()`` or ``tell()`` to an actor's handler."""
