"""What a file is to a collection: stored already, changed, moved here from elsewhere, or new."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from ingestion.identity import OWN_KEYS, document_id, pipeline_fingerprint, source_of
from ingestion.parsing import hash_file
from ingestion.sources import source_name
from ingestion.types import Json, Parsed
from storage.documents import DocumentState, NewDocument

if TYPE_CHECKING:
    from stamina import BoundAsyncRetryingCaller

    from storage.collections import Generation
    from storage.documents import Documents


class Matching:
    """Compares files with the documents of one generation.

    Attributes:
        sources: of all files of this run: none of these was moved away.

    """

    def __init__(
        self,
        documents: Documents,
        *,
        generation: Generation,
        retrying: BoundAsyncRetryingCaller,
        base: Path | None,
        metadata: Mapping[str, Json],
        max_file_bytes: int,
    ) -> None:
        self.sources: frozenset[str] = frozenset()
        self._documents = documents
        self._generation = generation
        self._retrying = retrying
        self._base = base
        self._metadata = metadata
        self._max_file_bytes = max_file_bytes
        self._fingerprint = pipeline_fingerprint(generation, metadata=metadata)

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

    async def identify(self, path: Path, parsed: Parsed) -> tuple[NewDocument, DocumentState | None]:
        """Return the document that a file makes, and what it takes the place of."""
        source = source_of(path, base=self._base) or str(path)
        stored = await self._retrying(self._documents.states, [source])
        replaces = stored.get(source) or await self._moved_from(parsed.content_hash)
        return (
            NewDocument(
                id=replaces.id if replaces else await self._free_id(source),
                source=source,
                location=str(path),
                title=parsed.title,
                metadata={**_free(parsed.metadata), **self._metadata, "file_name": source_name(Path(path.name))},
                content_hash=parsed.content_hash,
                pipeline_fingerprint=self._fingerprint,
                size=parsed.size,
            ),
            replaces,
        )

    async def _moved_from(self, content_hash: str) -> DocumentState | None:
        """Find the document that these bytes were before their file was moved: same bytes, and its own file is gone."""
        for state in await self._retrying(self._documents.same_content, content_hash):
            if state.source not in self.sources and await asyncio.to_thread(self._is_gone, state):
                return state
        return None

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
        candidates = [document_id(source, generation=self._generation, attempt=attempt) for attempt in range(100)]
        taken = await self._retrying(self._documents.by_ids, candidates)
        return next((candidate for candidate in candidates if candidate not in taken), str(uuid4()))


def _free(metadata: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out what a document says under keys that are Footnote's own: a citation's page is the page."""
    return {key: value for key, value in metadata.items() if key not in OWN_KEYS}
