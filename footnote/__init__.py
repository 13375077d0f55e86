"""The command ``footnote``: ask a running server, and whatever else is done with Footnote from a terminal."""
