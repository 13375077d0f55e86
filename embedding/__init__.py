"""The embedding model: its files, opening it, embedding with it, keeping vectors."""

from config.environment import keep_libraries_quiet

keep_libraries_quiet()
