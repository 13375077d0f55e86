"""What a run was given, and what of it changed."""
