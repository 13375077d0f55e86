"""HTML as text: parsing, telling content from its surroundings, and writing the content as Markdown."""
