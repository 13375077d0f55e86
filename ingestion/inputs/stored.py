"""Documents to ingest from the bytes that the database keeps."""

from __future__ import annotations

import asyncio
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.incoming import Identified
from ingestion.inputs.given import own_metadata, readers_of
from ingestion.names import safe_name
from ingestion.types import Chunk, Json, Parsed
from storage.documents.writes import Documents, NewDocument
from storage.errors import SourceTaken

if TYPE_CHECKING:
    from storage.documents.originals import Originals


@dataclass(frozen=True, slots=True)
class KeptText:
    """The text of a document that is made anew from its chunks, and what a text file cannot say of it.

    Attributes:
        places: offset in the text and page, where the page changes.
        row: the stored document.

    """

    text: str
    places: Sequence[tuple[int, int | None]]
    row: NewDocument

    def placed(self, parsed: Parsed) -> Parsed:
        """Return the document as read, its chunks cut where a page ends, and with their pages."""
        chunks: list[Chunk] = []
        for piece in (piece for chunk in parsed.chunks for piece in self._cut(chunk)):
            if not chunks or piece.end > chunks[-1].end:  # else it is the overlap with the chunk before
                chunks.append(replace(piece, index=len(chunks)))
        return replace(parsed, chunks=tuple(chunks), title=self.row.title)

    def _cut(self, chunk: Chunk) -> Iterator[Chunk]:
        """Yield the parts of a chunk, none of which is on two pages."""
        first, last = self._reached(chunk.start), bisect_left(self.places, chunk.end, key=itemgetter(0))
        between = [start for start, _ in self.places[first:last]]
        for start, end in pairwise([chunk.start, *between, chunk.end]):
            text = chunk.text[start - chunk.start : end - chunk.start]
            begin = start + len(text) - len(text.lstrip())
            if text := text.strip():
                page = self._page(begin)
                yield replace(chunk, text=text, start=begin, end=begin + len(text), page=page, page_end=page)

    def _page(self, offset: int) -> int | None:
        before = self._reached(offset)
        return self.places[before - 1][1] if before else None

    def _reached(self, offset: int) -> int:
        """Return how many of the places begin at an offset or before it."""
        return bisect_right(self.places, offset, key=itemgetter(0))


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A document whose bytes the database keeps, and its other fields.

    Attributes:
        name: file name; its suffix selects the reader where the bytes do not.
        metadata: as given by the user, ``readers`` among it; takes precedence over the document's own.
        title: overrides the document's own; None to keep that.
        kept: its text, which is read instead of its bytes; None to read those.
    """

    id: str
    source: str
    location: str | None
    name: str
    title: str | None
    metadata: Mapping[str, Json]
    content_hash: str
    pipeline_fingerprint: str
    revision: int
    kept: KeptText | None = None


@dataclass(slots=True)
class FromDatabase:
    """A document whose bytes, or text, the database has: uploaded, fetched, or carried over from another generation."""

    document: KeptDocument
    documents: Documents
    originals: Originals
    is_carried: bool = False

    @property
    def display_name(self) -> str:
        """Its source."""
        return self.document.source

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Path]:
        """Write the bytes to a temporary file with the original's suffix."""
        with tempfile.TemporaryDirectory(prefix="footnote-") as folder:
            if kept := self.document.kept:
                path = Path(folder) / "document.txt"
                await asyncio.to_thread(path.write_bytes, kept.text.encode())
            else:
                path = Path(folder) / safe_name(self.document.name)
                await self.originals.write_to(self.document.content_hash, path)
            yield path

    async def identify(self, parsed: Parsed) -> Identified:
        """Return it with its own id; a copy displaces another document with the same source.

        Raises:
            SourceTaken: it is no copy, and another document has its source.

        """
        known = self.document
        replaces = (await self.documents.by_ids([known.id])).get(known.id)
        holder = (await self.documents.states([known.source])).get(known.source)
        if holder is not None and holder.id == known.id:
            holder = None
        if holder is not None and not self.is_carried:
            raise SourceTaken(known.source, holder=holder.id)
        given = {**parsed.metadata, **known.metadata}
        new = NewDocument(
            id=known.id,
            source=known.source,
            location=known.location,
            title=known.title or parsed.title,
            metadata=own_metadata(given) | {"file_name": known.name},
            content_hash=known.content_hash,
            pipeline_fingerprint=known.pipeline_fingerprint,
            size=parsed.size,
            revision=known.revision,
            original=known.content_hash,
            pages=parsed.labelled_pages,
            repeated=parsed.repeated,
            warnings=[warning.as_json() for warning in parsed.warnings],
            readers=None if self.is_carried else readers_of(given),
        )
        if (kept := known.kept) is None:
            return Identified(new, replaces, displaces=holder)
        stays = ("metadata", "size", "original", "pages", "repeated", "warnings")
        new = replace(new, **{name: getattr(kept.row, name) for name in stays})
        return Identified(new, replaces, displaces=holder, parsed=kept.placed(parsed))

    async def is_stored(self) -> bool:
        """Tell whether exactly this version is stored."""
        known = self.document
        stored = (await self.documents.by_ids([known.id])).get(known.id)
        if stored is None or stored.source != known.source:
            return False
        return stored.is_made_of(known.content_hash, known.pipeline_fingerprint)

    async def keep(self, content_hash: str) -> None:
        """Do nothing: the bytes are stored already."""

    async def refresh(self) -> None:
        """Do nothing: `identify` queries the database each time."""
        await asyncio.sleep(0)
