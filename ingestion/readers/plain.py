"""Plain text and reStructuredText."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from ingestion.readers.cleaning import clean, decode, name_as_title, one_line
from ingestion.types import Extracted, Heading, ReadOptions

# a line over a line of at least its length, of one punctuation character
_RST_HEADING = re.compile(r"^(?P<title>\S[^\n]{0,299})\n(?P<line>([=\-~^\"'`#*+:.<>_])\3{2,})[ \t]*$", re.MULTILINE)


def read_plain(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read plain text; the title is the file name."""
    return Extracted(clean(decode(data)), title=name_as_title(name))


def read_rst(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read reStructuredText; the first underline style is the outermost heading level."""
    text = clean(decode(data))
    headings = tuple(_rst_headings(text))
    return Extracted(text, title=headings[0].text if headings else name_as_title(name), headings=headings)


def _rst_headings(text: str) -> Iterator[Heading]:
    levels: dict[str, int] = {}
    for match in _RST_HEADING.finditer(text):
        title = match["title"].rstrip()
        if len(match["line"]) < len(title) or set(title) <= set(match["line"]):
            continue
        level = levels.setdefault(match["line"][0], len(levels) + 1)
        yield Heading(match.start(), level, one_line(title, limit=200))
