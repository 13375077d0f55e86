"""Pages, mails and texts that Word documents hold in place of paragraphs (`altChunk`, ECMA-376 part 1, 17.17.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.assembly import Piece
from ingestion.types import Extracted, ReadOptions

_NAMES = {".mht": ".eml", ".mhtml": ".eml", ".xhtml": ".xhtml", ".html": ".html", ".htm": ".html", ".txt": ".txt"}


def chunk_of(part: str, data: bytes, options: ReadOptions) -> Extracted | None:
    """Read such a part; None if it is of another kind, a Word document say, or cannot be read."""
    from ingestion.readers import read

    suffix = _NAMES.get(PurePath(part).suffix.lower())
    if suffix is None:
        return None
    try:
        return read(PurePath(f"chunk{suffix}"), data=data, options=replace(options, attachments="no"))
    except Unreadable:
        return None


def pieces_of(chunk: Extracted) -> Iterator[Piece]:
    """Yield its headings and what stands below each."""
    ends = [heading.offset for heading in chunk.headings]
    for start, end in pairwise([*sorted({0, *ends}), len(chunk.text)]):
        heading = next((each for each in chunk.headings if each.offset == start), None)
        text = chunk.text[start:end]
        if heading is not None:
            yield Piece(heading.text, heading.level)
            text = text.partition("\n")[2]
        if text.strip():
            yield Piece(text.strip("\n"))
