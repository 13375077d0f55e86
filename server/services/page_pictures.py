"""Pages of documents as pictures, with what a passage says marked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

from ingestion.errors import Unreadable
from ingestion.read_options import read_options
from server.peers.turn import SharedTurn
from storage.documents.catalog import DocumentCatalog
from storage.documents.originals import Originals
from storage.documents.text import LONGEST, DocumentTexts, require_revision
from storage.errors import PageNotFound

if TYPE_CHECKING:
    from config.settings import IngestionSettings
    from ingestion.readers.pdf.painting import PagePainter
    from storage.database import Database
    from storage.documents.catalog import DocumentInfo
    from storage.documents.text import PagePlaces

CACHE_BYTES = 33_554_432


@dataclass(frozen=True, slots=True)
class Marked:
    """A page to draw; `start` and `end` are character offsets in the document's text, of what to mark on it.

    Attributes:
        page: its number, from 1.

    """

    page: int
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as PNG; `key` changes with everything that it shows."""

    png: bytes
    key: str


class PagePictures:
    """Draws pages of the documents that are kept; pictures are cached in memory.

    Args:
        database: with the documents.
        painter: draws.
        settings: of the readers.
        turn: to draw in; None: this process's own.
        cache_bytes: of the pictures that are kept in memory.

    """

    def __init__(
        self,
        database: Database,
        *,
        painter: PagePainter,
        settings: IngestionSettings,
        turn: SharedTurn | None = None,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self._catalog = DocumentCatalog(database)
        self._texts = DocumentTexts(database)
        self._originals = Originals(database)
        self._painter = painter
        self._settings = settings
        self._cache: LRUCache[str, bytes] = LRUCache(cache_bytes, getsizeof=len)
        self._turn = turn or SharedTurn(None)  # a document's bytes, and a drawing, are in memory once

    async def draw(self, document_id: str, marked: Marked, *, collection: str, revision: int | None) -> Picture:
        """Return a page of a document.

        Raises:
            DocumentNotFound: there is no such document in that collection.
            RevisionNotFound: it has another revision.
            OriginalNotFound: its bytes are not kept.
            PageNotFound: it has no such page, or pages of its kind cannot be drawn.

        """
        info = await self._catalog.get(document_id, collection=collection)
        require_revision(document_id, revision, current=info.revision)
        places = await self._texts.places(info.id, collection=info.collection)
        if not 1 <= marked.page <= len(places.starts):
            raise PageNotFound(_missing(info, marked.page))
        begin = places.starts[marked.page - 1]
        # as in the file: collections with chunks of other lengths have other offsets for the same place
        start = None if marked.start is None else places.in_file(max(begin, marked.start))
        end = LONGEST if marked.end is None else places.in_file(marked.end)
        in_file = Marked(marked.page, start, end)
        key = f"{info.content_hash[:32]}-{places.language}-{marked.page}-{start}-{end}"
        if (png := self._cache.get(key)) is None:
            async with self._turn.taken():
                if (png := self._cache.get(key)) is None:
                    png = await self._drawn(info, places, in_file)
            if len(png) <= self._cache.maxsize:
                self._cache[key] = png
        return Picture(png, key)

    async def _drawn(self, info: DocumentInfo, places: PagePlaces, marked: Marked) -> bytes:
        """Draw a page; the offsets of `marked` are those of the text before anything was repeated."""
        data = b"".join([block async for block in self._originals.blocks(info.content_hash)])
        name = str(info.metadata.get("file_name") or info.source.rpartition("/")[2])
        options = read_options(self._settings, language=places.language)
        begin = places.in_file(places.starts[marked.page - 1])
        try:
            return await self._painter.draw(
                data, name, marked.page, marked.start, marked.end, options, page_start=begin
            )
        except Unreadable as exc:
            msg = f"page {marked.page} of document {info.id!r} cannot be drawn: {exc}"
            raise PageNotFound(msg) from exc


def _missing(info: DocumentInfo, page: int) -> str:
    if not info.pages:
        return f"document {info.id!r} has no pages; GET /documents/{{id}}/text has its text"
    return f"document {info.id!r} has {info.pages} pages, and no page {page}"
