"""Reading, splitting and embedding on a Ray cluster; importing this does not import Ray."""
