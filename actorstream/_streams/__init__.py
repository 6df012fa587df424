"""An item's way: from an actor's ``yield`` to its consumer's ``async for``."""
