"""Whole runs: ingest, synchronise, re-index, prune, and the gate before activation."""
