"""The only files that know asyncio and trio."""
