"""Where items begin: iterables, threads, callbacks."""
