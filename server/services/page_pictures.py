"""Pages of documents as pictures, with what a passage says marked."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import LRUCache

from ingestion.errors import Unreadable
from ingestion.read_options import read_options
from ingestion.readers.drawing.view import View
from server.errors import Overloaded
from server.peers.turn import SharedTurn
from storage.documents.catalog import DocumentCatalog
from storage.documents.originals import Originals
from storage.documents.text import LONGEST, DocumentTexts, require_revision
from storage.errors import PageNotFound

if TYPE_CHECKING:
    from config.settings import IngestionSettings
    from ingestion.readers.drawing.painter import PagePainter
    from storage.database import Database
    from storage.documents.catalog import DocumentInfo

CACHE_BYTES = 33_554_432
MAX_WAITING = 32  # drawings


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
    """Draws pages of the documents that are kept, one at a time; pictures are cached in memory.

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
        self._options = read_options(settings, language="simple")
        self._cache: LRUCache[str, bytes] = LRUCache(cache_bytes, getsizeof=len)
        self._turn = turn or SharedTurn(None)  # a document's bytes, and a drawing, are in memory once
        self._waiting = 0

    async def draw(self, document_id: str, marked: Marked, *, collection: str, revision: int | None) -> Picture:
        """Return a page of a document.

        Raises:
            DocumentNotFound: there is no such document in that collection.
            RevisionNotFound: it has another revision.
            OriginalNotFound: its bytes are not kept.
            PageNotFound: it has no such page, or pages of its kind cannot be drawn.
            Overloaded: as many drawings as may are waiting.

        """
        info = await self._catalog.get(document_id, collection=collection)
        require_revision(document_id, revision, current=info.revision)
        view = await self._view(info, marked)
        key = _key(info, view)
        if (png := self._cache.get(key)) is None:
            async with self._queued():
                if (png := self._cache.get(key)) is None:
                    png = await self._drawn(info, view)
            if len(png) <= self._cache.maxsize:
                self._cache[key] = png
        return Picture(png, key)

    async def _view(self, info: DocumentInfo, marked: Marked) -> View:
        page = await self._texts.page(info.id, marked.page, collection=info.collection)
        name = str(info.metadata.get("file_name") or info.source.rpartition("/")[2])
        if marked.start is None:
            return View(name, marked.page, options=self._options)
        start, end = page.offset(marked.start), page.offset(LONGEST if marked.end is None else marked.end)
        return View(name, marked.page, page.text, start, end, options=self._options)

    @asynccontextmanager
    async def _queued(self) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise Overloaded
        self._waiting += 1
        try:
            async with self._turn.taken():
                yield
        finally:
            self._waiting -= 1

    async def _drawn(self, info: DocumentInfo, view: View) -> bytes:
        data = b"".join([block async for block in self._originals.blocks(info.content_hash)])
        try:
            return await self._painter.draw(data, view)
        except Unreadable as exc:
            msg = f"page {view.page} of document {info.id!r} cannot be drawn: {exc}"
            raise PageNotFound(msg) from exc


def _key(info: DocumentInfo, view: View) -> str:
    text = hashlib.sha256(view.text.encode()).hexdigest()[:16]  # other readers made another text of the same bytes
    return f"{info.content_hash[:32]}-{view.page}-{text}-{view.start}-{view.end}"
