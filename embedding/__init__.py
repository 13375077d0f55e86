"""The embedding model: its files, opening it, embedding with it, keeping vectors."""
