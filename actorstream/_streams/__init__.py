"""Streams: the path of an item from an actor's ``yield`` to its consumer's ``async for``."""
