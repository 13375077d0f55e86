"""HTTP out: engines, routes, protocols."""
