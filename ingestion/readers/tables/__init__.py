"""The one inner form of tables, and their headers."""
