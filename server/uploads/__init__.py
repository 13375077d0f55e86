"""Files that arrive over HTTP."""
