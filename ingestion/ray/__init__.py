"""Reading, splitting and embedding on a Ray cluster; importing this does not load Ray, and nothing else needs it."""
