"""The server's own process and the worker process beside it."""
