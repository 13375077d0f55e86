"""What a file is to a collection: stored already, changed, moved here from elsewhere, or new."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ingestion.identity import document_id, free_metadata, pipeline_fingerprint, source_of
from ingestion.incoming import Identified
from ingestion.names import source_name
from ingestion.readers.process_pool import hash_file
from ingestion.types import Json, Parsed
from storage.documents.writes import DocumentState, NewDocument

if TYPE_CHECKING:
    from stamina import BoundAsyncRetryingCaller

    from storage.documents.writes import Documents
    from storage.generation import Generation

MOST_ATTEMPTS = 100


class Matching:
    """Compares files with the documents of one generation, and of the active one `beside` it while it is built."""

    def __init__(
        self,
        documents: Documents,
        *,
        generation: Generation,
        beside: Documents | None,
        retrying: BoundAsyncRetryingCaller,
        base: Path | None,
        metadata: Mapping[str, Json],
        max_file_bytes: int,
    ) -> None:
        self._documents = documents
        self._generation = generation
        self._retrying = retrying
        self._base = base
        self._metadata = metadata
        self._max_file_bytes = max_file_bytes
        self._beside = beside
        self._stores = [documents, *([beside] if beside else [])]
        self._fingerprint = pipeline_fingerprint(generation.embedding, generation.chunking, metadata=metadata)

    async def next_revision(self) -> int:
        """See `Documents.next_revision`."""
        return await self._retrying(self._documents.next_revision)

    async def changed(self, paths: Mapping[str, Path]) -> list[Path]:
        """Return the files, given by their sources, that are not stored as they are; they are told apart by hash."""
        states = await self._retrying(self._documents.states, list(paths))
        return await asyncio.to_thread(self._compare, paths, states)

    def _compare(self, paths: Mapping[str, Path], states: Mapping[str, DocumentState]) -> list[Path]:
        return [path for source, path in paths.items() if not self._is_stored(path, states.get(source))]

    def _is_stored(self, path: Path, state: DocumentState | None) -> bool:
        if state is None or state.pipeline_fingerprint != self._fingerprint:
            return False
        try:
            return path.stat().st_size <= self._max_file_bytes and hash_file(path) == state.content_hash
        except OSError:
            return False  # the reader will say why

    async def identify(self, path: Path, parsed: Parsed, *, revision: int) -> Identified:
        """Return the document that a file makes, and what it takes the place of."""
        source = source_of(path, base=self._base) or str(path)
        replaces = await self._with_source(self._documents, source)
        known = replaces or await self._known_beside(source)
        if known is None:
            known = replaces = await self._moved_from(self._documents, parsed.content_hash)
        if known is None and self._beside:
            known = await self._moved_from(self._beside, parsed.content_hash)
        if known is not None and replaces is None:
            replaces = await self._stored(known.id)
            if replaces is not None and not await asyncio.to_thread(self._is_gone, replaces):
                # another file became that document since we asked
                return await self.identify(path, parsed, revision=revision)
        document = NewDocument(
            id=known.id if known else await self._free_id(source),
            source=source,
            location=str(path),
            title=parsed.title,
            metadata={**free_metadata(parsed.metadata), **self._metadata, "file_name": source_name(Path(path.name))},
            content_hash=parsed.content_hash,
            pipeline_fingerprint=self._fingerprint,
            size=parsed.size,
            revision=revision,
            original=parsed.content_hash,
        )
        return Identified(document, replaces)

    async def _with_source(self, documents: Documents, source: str) -> DocumentState | None:
        return (await self._retrying(documents.states, [source])).get(source)

    async def _known_beside(self, source: str) -> DocumentState | None:
        """Find the document in the generation beside: it keeps its id from one to the next."""
        known = await self._with_source(self._beside, source) if self._beside else None
        return known if known and await self._is_free(known.id) else None

    async def _moved_from(self, documents: Documents, content_hash: str) -> DocumentState | None:
        """Find the document that these bytes were before their file was moved: same bytes, and its own file is gone."""
        for state in await self._retrying(documents.same_content, content_hash):
            if await asyncio.to_thread(self._is_gone, state) and (
                documents is self._documents or await self._is_free(state.id)
            ):
                return state
        return None

    async def _is_free(self, document_id: str) -> bool:
        """Tell whether a document of the generation beside has not become that of another file here."""
        stored = await self._stored(document_id)
        return stored is None or await asyncio.to_thread(self._is_gone, stored)

    async def _stored(self, document_id: str) -> DocumentState | None:
        return (await self._retrying(self._documents.by_ids, [document_id])).get(document_id)

    def _is_gone(self, state: DocumentState) -> bool:
        """Tell whether a document's file is nowhere: not where it was read, and not under its name in this base."""
        if state.location is None:
            return False
        places = [Path(state.location), *([self._base / state.source] if self._base else [])]
        try:
            return not any(place.exists() for place in places)
        except OSError:
            return False  # a folder that we may not look into

    async def _free_id(self, source: str) -> str:
        """Return the source's own id, or the next one where a document that was moved away has kept it."""
        for attempt in range(MOST_ATTEMPTS):
            candidate = document_id(source, generation=self._generation, attempt=attempt)
            if not [each for each in self._stores if await self._retrying(each.by_ids, [candidate])]:
                return candidate
        return str(uuid4())
