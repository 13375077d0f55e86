"""Documents that one generation lacks, or has in an older version than another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from storage import chunk_tables
from storage.collections.generations import LAGGING
from storage.documents.rows import stored_row
from storage.documents.text import ONE_VERSION, text_of
from storage.documents.versions import NewDocument
from storage.errors import DocumentNotFound

if TYPE_CHECKING:
    from storage.database import Database
    from storage.generation import Generation

BETWEEN = "\n\n"


@dataclass(frozen=True, slots=True)
class MissingDocument:
    """A document of the reference generation, with the fields needed to ingest it again."""

    id: str
    source: str
    location: str | None
    title: str
    metadata: Mapping[str, Any]
    content_hash: str
    pipeline_fingerprint: str
    revision: int
    original: str | None


@dataclass(frozen=True, slots=True)
class MissingContent:
    """What is stored of a document beside its bytes.

    Attributes:
        row: its row.
        text: reconstructed from its chunks; empty if there are none.
        metadata: common to its chunks.
        places: offset in the text and page, of each chunk that is on another page than the one before.

    """

    row: NewDocument
    text: str
    metadata: Mapping[str, Any]
    places: Sequence[tuple[int, int | None]]


class MissingDocuments:
    """Documents that `target` lacks, or has in an older version than `reference`."""

    def __init__(self, database: Database, *, target: Generation, reference: Generation) -> None:
        self._database = database
        self._target = target
        self._reference = reference

    async def page(self, *, after: str, limit: int) -> list[MissingDocument]:
        """Return the next page, by id."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT a.id, a.source, a.location, a.title, a.metadata::text AS metadata, a.content_hash,
                        a.pipeline_fingerprint, a.revision, a.original
                    {LAGGING} AND a.id > $3 ORDER BY a.id LIMIT $4""",
                self._reference.id,
                self._target.id,
                after,
                limit,
            )
        return [MissingDocument(**{**dict(row), "metadata": json.loads(row["metadata"])}) for row in rows]

    async def count(self) -> int:
        """Count them."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(f"SELECT count(*) {LAGGING}", self._reference.id, self._target.id))

    async def content(self, document_id: str) -> MissingContent:
        """Return a document's content from its row and its chunks in the reference generation.

        Raises:
            DocumentNotFound: it is gone.

        """
        async with self._database.transaction(local=ONE_VERSION, readonly=True) as connection:
            row = await stored_row(connection, self._reference.id, document_id)
            if row is None:
                raise DocumentNotFound(document_id)
            chunks = await connection.fetch(
                f"""SELECT c.text, c.start_char, c.end_char, c.page, c.metadata_::text AS metadata
                    FROM {chunk_tables.readable(self._reference.id)} WHERE c.document_id = $1 ORDER BY c.chunk_index""",
                document_id,
            )
            text = await text_of(connection, self._reference.id, document_id) if chunks else ""
        starts = [chunk["start_char"] for chunk in chunks]
        if any(text[chunk["start_char"] : chunk["end_char"]] != chunk["text"] for chunk in chunks):
            text, starts = _strung([chunk["text"] for chunk in chunks])  # nodes without offsets
            row = replace(row, pages=(), repeated=())
        places = _places([(start, chunk["page"]) for start, chunk in zip(starts, chunks, strict=True)])
        return MissingContent(row, text, _common([json.loads(chunk["metadata"]) for chunk in chunks]), places)


def _strung(texts: Sequence[str]) -> tuple[str, list[int]]:
    """Return texts as one, with an empty line between two, and where each begins."""
    starts = list(accumulate((len(text) + len(BETWEEN) for text in texts[:-1]), initial=0))
    return BETWEEN.join(texts), starts


def _places(pages: Sequence[tuple[int, int | None]]) -> list[tuple[int, int | None]]:
    ordered = sorted(pages, key=lambda place: place[0])
    return [
        place for place, before in zip(ordered, [None, *ordered], strict=False) if not before or place[1] != before[1]
    ]


def _common(metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        key: value
        for key, value in (metadata[0] if metadata else {}).items()
        if all(key in each and each[key] == value for each in metadata[1:])
    }
