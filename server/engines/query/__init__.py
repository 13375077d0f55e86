"""The query engines, one file each."""
