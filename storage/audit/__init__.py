"""The audit record: who did what, from where, and what it was before and after."""
