"""Golden questions of collections, and evaluations with them."""
