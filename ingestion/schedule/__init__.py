"""Sources that are ingested on a schedule."""
