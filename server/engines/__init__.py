"""Query engines, one module each, behind a registry; and the boundary to language models."""
