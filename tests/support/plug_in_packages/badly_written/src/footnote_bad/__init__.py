"""Plug-ins that sleep, raise, and return what they should not."""
