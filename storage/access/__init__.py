"""Tenants: made, suspended, deleted, exported."""
