"""Errors in golden questions."""

from config.errors import FootnoteError


class InvalidGolden(FootnoteError):
    """A file of golden questions cannot be used; the message names file and line, and says what is wanted."""
