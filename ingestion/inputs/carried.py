"""Documents copied from the active generation into one that is being built or activated again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from ingestion.identity import carried_fingerprint, without_reserved_keys
from ingestion.inputs.stored import FromDatabase, KeptDocument, KeptText
from ingestion.retrying import RETRYING
from storage.collections.missing import MissingDocument, MissingDocuments
from storage.documents.originals import Originals
from storage.documents.versions import CHANGED_BY_NODES
from storage.documents.writes import Documents, NewDocument
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
        # of a mail only its bytes tell the attachments
        is_changed = stored.pipeline_fingerprint.endswith(CHANGED_BY_NODES) and not stored.metadata.get("attachments")
        if stored.original is None or is_changed:
            return await self._from_chunks(stored, missing)
        return KeptDocument(
            id=stored.id,
            source=stored.source,
            location=stored.location,
            name=str(stored.metadata.get("file_name") or PurePath(stored.source).name or "document.txt"),
            title=stored.title,
            metadata={key: value for key, value in stored.metadata.items() if key != "file_name"},
            content_hash=stored.original,
            pipeline_fingerprint=carried_fingerprint(stored.pipeline_fingerprint, self._target, self._settings),
            revision=stored.revision,
        )

    async def _from_chunks(self, stored: MissingDocument, missing: MissingDocuments) -> KeptDocument | None:
        """Return a document that only its chunks tell: added through LlamaIndex, or before originals were kept.

        One without chunks is written at once, and None returned.
        """
        try:
            content = await RETRYING(missing.content, stored.id)
        except DocumentNotFound:
            return None
        own = carried_fingerprint(CHANGED_BY_NODES, self._target, self._settings)
        shared = {key: value for key, value in content.metadata.items() if key == "file_name"}
        metadata = {**shared, **without_reserved_keys(content.metadata), **stored.metadata}
        row = replace(content.row, metadata=metadata, pipeline_fingerprint=own)
        if not content.text.strip():
            await self._write_empty(row)
            return None
        return KeptDocument(
            id=row.id,
            source=row.source,
            location=row.location,
            name=str(metadata.get("file_name") or PurePath(row.source).name),
            title=row.title,
            metadata=metadata,
            content_hash=row.content_hash,
            pipeline_fingerprint=own,
            revision=row.revision,
            kept=KeptText(content.text, content.places, row),
        )

    async def _write_empty(self, row: NewDocument) -> None:
        replaces = (await RETRYING(self._documents.by_ids, [row.id])).get(row.id)
        holder = (await RETRYING(self._documents.states, [row.source])).get(row.source)
        displaces = holder if holder is not None and holder.id != row.id else None
        await RETRYING(self._documents.write, row, [], replaces=replaces, displaces=displaces, is_carried=True)
