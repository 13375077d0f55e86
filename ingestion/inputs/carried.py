"""Documents copied from the active generation into one that is being built or activated again."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from ingestion.identity import carried_fingerprint, without_reserved_keys
from ingestion.inputs.stored import FromDatabase, KeptDocument
from ingestion.retrying import RETRYING
from storage.collections.missing import MissingDocument, MissingDocuments
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import DocumentNotFound

if TYPE_CHECKING:
    from config.settings import IngestionSettings
    from storage.database import Database
    from storage.generation import Generation

PAGE = 256


class CarriedDocuments:
    """Documents that `target` lacks, or has in an older version than `reference`, read from the database's own copies.

    Attributes:
        tried: ids and revisions of documents that were yielded once; later rounds skip them.

    """

    def __init__(self, database: Database, *, target: Generation, settings: IngestionSettings) -> None:
        self.tried: set[tuple[str, int]] = set()
        self._database = database
        self._target = target
        self._settings = settings
        self._documents = Documents(database, generation=target)
        self._originals = Originals(database)

    async def documents(self, reference: Generation) -> AsyncIterator[FromDatabase]:
        """Yield the documents to copy, each once, in its latest version."""
        missing = MissingDocuments(self._database, target=self._target, reference=reference)
        after = ""
        while page := await RETRYING(missing.page, after=after, limit=PAGE):
            after = page[-1].id
            for stored in page:
                if (stored.id, stored.revision) in self.tried:
                    continue
                self.tried.add((stored.id, stored.revision))
                kept = await self._kept(stored, missing)
                if kept is not None:
                    yield FromDatabase(kept, self._documents, self._originals, is_carried=True)

    async def _kept(self, stored: MissingDocument, missing: MissingDocuments) -> KeptDocument | None:
        name = str(stored.metadata.get("file_name") or PurePath(stored.source).name or "document.txt")
        original, metadata = stored.original, stored.metadata
        if original is None:  # added through LlamaIndex, or before originals were kept: only its chunks are stored
            try:
                content = await RETRYING(missing.content, stored.id)
            except DocumentNotFound:
                return None
            original = await self._keep_text(content.text)
            name = f"{PurePath(name).stem or 'document'}.txt"
            metadata = {**without_reserved_keys(content.metadata), **metadata}
        return KeptDocument(
            id=stored.id,
            source=stored.source,
            location=stored.location,
            name=name,
            title=stored.title,
            metadata={key: value for key, value in metadata.items() if key != "file_name"},
            content_hash=original,
            pipeline_fingerprint=carried_fingerprint(stored.pipeline_fingerprint, self._target, self._settings),
            revision=stored.revision,
        )

    async def _keep_text(self, text: str) -> str:
        data = text.encode()
        content_hash = hashlib.sha256(data).hexdigest()
        with tempfile.TemporaryDirectory(prefix="footnote-") as folder:
            path = Path(folder) / "text"
            await asyncio.to_thread(path.write_bytes, data)
            await RETRYING(self._originals.put, path, content_hash=content_hash)
        return content_hash
