"""Reads over collections and documents, for the routes."""

from __future__ import annotations

from storage.collections.collections import CollectionInfo, Collections
from storage.cursors import Page
from storage.database import Database
from storage.documents.catalog import DocumentCatalog, DocumentInfo
from storage.documents.text import DocumentTexts, TextPart


class Catalog:
    """What there is. Every method raises `FootnoteError`s only."""

    def __init__(self, database: Database) -> None:
        self._collections = Collections(database)
        self._documents = DocumentCatalog(database)
        self._texts = DocumentTexts(database)

    async def collections(self, *, limit: int, cursor: str | None) -> Page[CollectionInfo]:
        """List collections by name."""
        return await self._collections.list(limit=limit, cursor=cursor)

    async def collection(self, name: str, /) -> CollectionInfo:
        """Describe a collection."""
        return await self._collections.info(name)

    async def documents(self, *, collection: str, limit: int, cursor: str | None) -> Page[DocumentInfo]:
        """List a collection's documents by id."""
        return await self._documents.list(collection=collection, limit=limit, cursor=cursor)

    async def document(self, document_id: str, /, *, collection: str | None) -> DocumentInfo:
        """Describe a document."""
        return await self._documents.get(document_id, collection=collection)

    async def text(self, document_id: str, /, *, collection: str | None, offset: int, limit: int) -> TextPart:
        """Return at most `limit` characters of a document's text, from `offset` on."""
        return await self._texts.part(document_id, collection=collection, offset=offset, limit=limit)
