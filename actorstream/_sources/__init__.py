"""Sources of items: iterables, threads, callbacks."""
