"""JSON as people write it by hand: without its comments and without commas before a closing bracket."""

from __future__ import annotations

import re

# a string, which is kept whole; or a comment; or a comma with nothing but blanks and comments before the bracket
_PART = re.compile(
    r"(?P<string>\"(?:[^\"\\]|\\.)*\"?)|(?P<comment>//[^\n]*|/\*.*?(?:\*/|\Z)|(?:(?<=\n)|(?<=\A))[ \t]*#[^\n]*)|"
    r"(?P<comma>,)(?=(?:\s|//[^\n]*|/\*.*?\*/)*+[\]}])",
    re.DOTALL,
)


def without_extras(text: str) -> str:
    """Return the text without comments (``//``, ``/* */``, lines of ``#``) and trailing commas; lines stay lines."""
    return _PART.sub(lambda part: part["string"] or "\n" * part[0].count("\n"), text)
