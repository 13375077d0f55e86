"""Classifies files against a generation: unchanged, changed, moved or new.

Runs and dry runs share it, so that a run does what the dry run said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.errors import Unreadable
from ingestion.identity import absolute, free_id, source_of
from ingestion.incoming import Change, Identified, change_of
from ingestion.inputs.given import own_metadata, readers_of
from ingestion.inputs.locations import FileLocations
from ingestion.names import source_name
from ingestion.readers.process_pool import hash_file, too_large
from ingestion.retrying import RETRYING
from ingestion.types import Json, Parsed, Skipped
from storage.documents.writes import Documents, DocumentState, NewDocument

if TYPE_CHECKING:
    from ingestion.inputs.destination import Destination
    from storage.database import Database

UNNAMABLE = "its path is longer than 2,000 bytes or not Unicode: rename it"

TWIN = "another file has the same name, apart from how its accents are stored: rename one"


@dataclass(frozen=True, slots=True)
class Digest:
    """SHA-256 of a file's bytes, in hex, and its size in bytes."""

    content_hash: str
    size: int


@dataclass(frozen=True, slots=True)
class Match:
    """The stored document that a file is a version of.

    Attributes:
        known: that document, in this generation or the one beside it; None for a new document.
        replaces: the document as stored in this generation; None if it is not.

    """

    source: str
    known: DocumentState | None = None
    replaces: DocumentState | None = None

    @property
    def change(self) -> Change:
        """What the run does with the document."""
        return change_of(self.replaces, source=self.source)


class Matching:
    """Compares files with the documents of a generation, and of the active one beside it while it is built."""

    def __init__(
        self,
        database: Database,
        *,
        destination: Destination,
        base: Path | None,
        named: Sequence[str],
        metadata: Mapping[str, Json],
    ) -> None:
        self._destination = destination
        self._documents = Documents(database, generation=destination.generation) if destination.generation else None
        self._beside = Documents(database, generation=destination.beside) if destination.beside else None
        self._base = absolute(base) if base else None
        self._locations = FileLocations(base=base, named=named)
        self._metadata = metadata
        self._max_file_bytes = destination.settings.max_file_bytes
        self._fingerprint = destination.fingerprint(metadata)

    def named(self, listing: Iterable[Path | Skipped]) -> tuple[dict[str, Path], list[Skipped]]:
        """Return a listing's files by source, and the entries that are skipped."""
        paths: dict[str, Path] = {}
        skipped = []
        for entry in listing:
            if isinstance(entry, Skipped):
                skipped.append(entry)
            elif (source := source_of(absolute(entry), base=self._base)) is None:
                skipped.append(Skipped(absolute(entry), UNNAMABLE))
            elif source in paths:
                skipped.append(Skipped(absolute(entry), TWIN))
            else:
                paths[source] = absolute(entry)
        return paths, skipped

    async def next_revision(self) -> int:
        """See `Documents.next_revision`."""
        if self._documents is None:
            raise AssertionError
        return await RETRYING(self._documents.next_revision)

    async def changed(self, paths: Mapping[str, Path]) -> list[Path]:
        """Return the files, given by source, that are not stored in their present version."""
        states = await self._with_sources(self._documents, list(paths))
        return await asyncio.to_thread(self._not_stored, paths, states)

    def _not_stored(self, paths: Mapping[str, Path], states: Mapping[str, DocumentState]) -> list[Path]:
        return [path for source, path in paths.items() if not self._is_file_stored(path, states.get(source))]

    def _is_file_stored(self, path: Path, state: DocumentState | None) -> bool:
        if state is None or state.pipeline_fingerprint != self._fingerprint:
            return False  # no need to read the file
        try:
            return self.is_stored(self.digest(path), state)
        except (OSError, Unreadable):
            return False  # the reader reports the reason

    def digest(self, path: Path) -> Digest:
        """Hash a file.

        Raises:
            Unreadable: it is larger than the settings allow.
            OSError: it cannot be read.

        """
        size = path.stat().st_size
        if size > self._max_file_bytes:
            raise Unreadable(too_large(self._max_file_bytes))
        return Digest(hash_file(path), size)

    def is_stored(self, digest: Digest, state: DocumentState | None) -> bool:
        """Tell whether these bytes are stored already, made with the same settings."""
        return state is not None and state.is_made_of(digest.content_hash, self._fingerprint)

    async def match(self, hashes: Mapping[str, str], *, claimed: Container[str] = ()) -> dict[str, Match]:
        """Return the document of each file: the one with the same source, else one whose file was moved there.

        A file was moved if a document has the same bytes and its own file is gone from below a path that this run
        names and that is there. Each document is given to one file.

        Args:
            hashes: of the files' bytes, by source.
            claimed: ids of documents that earlier files were given, and that are not written yet.

        """
        stored = await self._with_sources(self._documents, list(hashes))
        matches = {source: Match(source, state, state) for source, state in stored.items()}
        rest = {source: content_hash for source, content_hash in hashes.items() if source not in stored}
        if not rest:
            return matches
        beside = await self._with_sources(self._beside, list(rest))
        here = await self._with_content(self._documents, rest.values())
        elsewhere = await self._with_content(self._beside, rest.values())
        known = {state.id for state in (*beside.values(), *elsewhere)}
        taken = await RETRYING(self._documents.by_ids, sorted(known)) if self._documents and known else {}
        choice = _Choice(self._locations, by_source=beside, here=here, beside=elsewhere, stored=taken, claimed=claimed)
        return matches | await asyncio.to_thread(choice.of, rest)

    async def identify(self, path: Path, parsed: Parsed, *, revision: int) -> Identified:
        """Return the document that a file makes, and what it takes the place of."""
        source = source_of(path, base=self._base) or str(path)
        match = (await self.match({source: parsed.content_hash}))[source]
        given = {**parsed.metadata, **self._metadata}
        document = NewDocument(
            id=match.known.id if match.known else await self._new_id(source),
            source=source,
            location=str(path),
            title=parsed.title,
            metadata=own_metadata(given) | {"file_name": source_name(path.name)},
            content_hash=parsed.content_hash,
            pipeline_fingerprint=self._fingerprint,
            size=parsed.size,
            revision=revision,
            original=parsed.content_hash,
            pages=parsed.labelled_pages,
            repeated=parsed.repeated,
            warnings=[warning.as_json() for warning in parsed.warnings],
            readers=readers_of(given),
        )
        return Identified(document, match.replaces)

    async def _new_id(self, source: str) -> str:
        if self._destination.generation is None:
            raise AssertionError
        stores = [each for each in (self._documents, self._beside) if each]
        return await RETRYING(free_id, source, generation=self._destination.generation, stores=stores)

    @staticmethod
    async def _with_sources(documents: Documents | None, sources: Sequence[str]) -> dict[str, DocumentState]:
        return await RETRYING(documents.states, sources) if documents and sources else {}

    @staticmethod
    async def _with_content(documents: Documents | None, hashes: Iterable[str]) -> list[DocumentState]:
        return await RETRYING(documents.same_content, sorted(set(hashes))) if documents else []


class _Choice:
    """Finds documents for files whose source the generation does not have. It does file system calls.

    Args:
        by_source: documents of the generation beside; a document keeps its id across generations.
        here: documents of the generation with the bytes of any of the files.
        beside: the same of the generation beside.
        stored: documents of the generation that have the id of one beside.
        claimed: as in `Matching.match`.

    """

    def __init__(
        self,
        locations: FileLocations,
        *,
        by_source: Mapping[str, DocumentState],
        here: Sequence[DocumentState],
        beside: Sequence[DocumentState],
        stored: Mapping[str, DocumentState],
        claimed: Container[str],
    ) -> None:
        self._locations = locations
        self._by_source = by_source
        self._here = _by_content(here)
        self._beside = _by_content(beside)
        self._stored = stored
        self._claimed = claimed
        self._given: set[str] = set()

    def of(self, hashes: Mapping[str, str]) -> dict[str, Match]:
        """Return a match for each file."""
        return {source: self._match(source, content_hash) for source, content_hash in hashes.items()}

    def _match(self, source: str, content_hash: str) -> Match:
        known = self._by_source.get(source)
        if known is not None and self._is_free(known.id):
            return self._give(source, known, replaces=self._stored.get(known.id))
        for state in self._here.get(content_hash, ()):
            if not self._is_given(state.id) and self._locations.has_moved(state):
                return self._give(source, state, replaces=state)
        for state in self._beside.get(content_hash, ()):
            if self._locations.has_moved(state) and self._is_free(state.id):
                return self._give(source, state, replaces=self._stored.get(state.id))
        return Match(source)

    def _give(self, source: str, known: DocumentState, *, replaces: DocumentState | None) -> Match:
        self._given.add(known.id)
        return Match(source, known, replaces)

    def _is_free(self, document_id: str) -> bool:
        """Tell whether no other file has this document in the generation."""
        stored = self._stored.get(document_id)
        return not self._is_given(document_id) and (stored is None or self._locations.has_moved(stored))

    def _is_given(self, document_id: str) -> bool:
        return document_id in self._given or document_id in self._claimed


def _by_content(states: Iterable[DocumentState]) -> dict[str, list[DocumentState]]:
    found: dict[str, list[DocumentState]] = {}
    for state in states:
        found.setdefault(state.content_hash, []).append(state)
    return found
