"""The command line ``python -m ingestion``: arguments, commands, progress."""
