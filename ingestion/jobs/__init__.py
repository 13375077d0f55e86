"""Background jobs: the worker, the kinds of jobs it runs, retries."""
