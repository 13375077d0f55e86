"""A tenant's documents as files: one line of JSON each, the bytes that they were made of, and who was shown them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from storage.access.evidence import EvidenceStore
from storage.access.tenants import Tenants
from storage.caller import acting_as, service_of
from storage.collections.collections import Collections
from storage.documents.catalog import DocumentCatalog, DocumentInfo
from storage.documents.originals import Originals
from storage.documents.text import DocumentTexts
from storage.errors import DocumentNotFound, ExportRefused, OriginalNotFound, TenantNotFound

if TYPE_CHECKING:
    from storage.database import Database

PAGE = 100
DOCUMENTS, ORIGINALS, ANSWERS = "documents.jsonl", "originals", "answers.jsonl"


class TenantExport:
    """Writes the documents of one tenant's active generations into a folder."""

    def __init__(self, database: Database, *, tenant: str, folder: Path) -> None:
        self._database = database
        self._tenant = tenant
        self._folder = folder

    async def write(self) -> Mapping[str, int]:
        """Write ``documents.jsonl``, ``originals/<SHA-256>`` and ``answers.jsonl``; return how many there are.

        A document that changes meanwhile is written in one of its versions; one that is deleted is left out.

        Raises:
            TenantNotFound: there is no such tenant.
            ExportRefused: the folder has something in it, or cannot be written.

        """
        if await Tenants(self._database).status(self._tenant) is None:
            raise TenantNotFound(self._tenant)
        with acting_as(service_of(self._tenant)):
            try:
                await asyncio.to_thread(self._prepare)
                return {
                    "documents": await self._listed(DOCUMENTS, self._documents),
                    "originals": len(list((self._folder / ORIGINALS).iterdir())),
                    "answers": await self._listed(ANSWERS, self._answers),
                }
            except OSError as exc:
                msg = f"{self._folder} cannot be written: {exc.strerror}"
                raise ExportRefused(msg) from exc

    def _prepare(self) -> None:
        if self._folder.exists() and any(self._folder.iterdir()):
            msg = f"{self._folder} has something in it; name an empty folder"
            raise ExportRefused(msg)
        (self._folder / ORIGINALS).mkdir(parents=True, exist_ok=True)

    async def _listed(self, name: str, write: Callable[[TextIO], Awaitable[int]]) -> int:
        with await asyncio.to_thread((self._folder / name).open, "w", encoding="utf-8") as lines:
            return await write(lines)

    async def _documents(self, lines: TextIO) -> int:
        written, cursor, catalog = 0, None, Collections(self._database)
        while True:
            page = await catalog.list(limit=PAGE, cursor=cursor)
            for info in page.items:
                written += await self._of_collection(info.name, lines)
            if (cursor := page.next_cursor) is None:
                return written

    async def _answers(self, lines: TextIO) -> int:
        written = 0
        async for answer in EvidenceStore(self._database).every():
            await asyncio.to_thread(lines.write, answer.json_line() + "\n")
            written += 1
        return written

    async def _of_collection(self, collection: str, lines: TextIO) -> int:
        written, cursor, catalog = 0, None, DocumentCatalog(self._database)
        while True:
            page = await catalog.list(collection=collection, limit=PAGE, cursor=cursor)
            for info in page.items:
                written += await self._document(info, lines)
            if (cursor := page.next_cursor) is None:
                return written

    async def _document(self, info: DocumentInfo, lines: TextIO) -> bool:
        try:
            text = (await DocumentTexts(self._database).whole(info.id, collection=info.collection)).text
        except DocumentNotFound:
            if info.chunks:
                return False
            text = ""
        original = await self._original(info.content_hash)
        line = {
            "collection": info.collection,
            "id": info.id,
            "source": info.source,
            "title": info.title,
            "parent": info.parent,
            "readers": list(info.readers),
            "metadata": dict(info.metadata),
            "content_hash": info.content_hash,
            "ingested_at": info.ingested_at.isoformat(),
            "original": original,
            "text": text,
        }
        await asyncio.to_thread(lines.write, json.dumps(line, ensure_ascii=False) + "\n")
        return True

    async def _original(self, content_hash: str) -> str | None:
        path = self._folder / ORIGINALS / content_hash
        if not path.exists():
            try:
                await Originals(self._database).write_to(content_hash, path)
            except OriginalNotFound:
                path.unlink(missing_ok=True)
                return None
        return f"{ORIGINALS}/{content_hash}"
