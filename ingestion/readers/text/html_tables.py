"""Tables that Markdown has as HTML, written with bars, so that they are found and cut as other tables are."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ingestion.errors import Unreadable

_FENCE_OR_TABLE = re.compile(
    r"^ {0,3}(?:(?P<fence>`{3,}(?![^\n]*`)|~{3,})|(?P<table><table\b))", re.MULTILINE | re.IGNORECASE
)
_TAG = re.compile(r"<(/?)table\b", re.IGNORECASE)
_LONGEST = 2_000_000  # characters


def with_bars(text: str) -> str:
    """Return a Markdown text whose tables of HTML are tables of Markdown; what is nested or unclosed stays."""
    return "".join(_parts(text)) if "<table" in text.lower() else text


def _parts(text: str) -> Iterator[str]:
    done = at = 0
    while found := _FENCE_OR_TABLE.search(text, at):
        if found["fence"]:
            closing = re.compile(rf"^ {{0,3}}{re.escape(found['fence'])}", re.MULTILINE).search(text, found.end())
            at = closing.end() if closing else len(text)
            continue
        end = _end(text, found.end())
        written = _written(text[found.start() : end]) if end else ""
        at = end or found.end()
        if written:
            yield text[done : found.start()]
            yield f"{written}\n"
            done = at
    yield text[done:]


def _end(text: str, at: int) -> int:
    """Return the end of the table that has begun; 0 if it has another within it, or none."""
    tag = _TAG.search(text, at, at + _LONGEST)
    if tag is None or not tag[1]:
        return 0
    return text.find(">", tag.end()) + 1


def _written(source: str) -> str:
    from ingestion.readers.html.tables import is_layout
    from ingestion.readers.html.tree import parse
    from ingestion.readers.html.walk import blocks_of, written

    try:
        root = parse(f"<body>{source}</body>")
    except Unreadable:
        return ""
    table = next(root.iter("table"), None)
    return "" if table is None or is_layout(table) else written(blocks_of(root))[0].strip("\n")
