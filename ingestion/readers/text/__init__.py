"""Formats that are text: Markdown, source code, notebooks, subtitles and others."""
