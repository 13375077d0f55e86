"""Collections, their generations, and which of those answers."""
