"""What depends on asyncio or trio."""
