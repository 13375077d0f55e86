"""Time limits, interrupts and background work of requests."""
