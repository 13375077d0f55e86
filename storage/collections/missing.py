"""Documents that one generation lacks, or has in an older version than another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage import chunk_tables
from storage.collections.generations import LAGGING
from storage.documents.text import ONE_VERSION, text_of

if TYPE_CHECKING:
    from storage.database import Database
    from storage.generation import Generation


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
    """A document's text, and the metadata common to its chunks."""

    text: str
    metadata: Mapping[str, Any]


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
        """Return a document's content from its chunks in the reference generation.

        Raises:
            DocumentNotFound: it is gone.

        """
        async with self._database.transaction(local=ONE_VERSION, readonly=True) as connection:
            text = await text_of(connection, self._reference.id, document_id)
            rows = await connection.fetch(
                f"""SELECT c.text, c.start_char, c.end_char, c.metadata_::text AS metadata
                    FROM {chunk_tables.readable(self._reference.id)} WHERE c.document_id = $1 ORDER BY c.chunk_index""",
                document_id,
            )
        if any(text[row["start_char"] : row["end_char"]] != row["text"] for row in rows):
            text = "\n\n".join(row["text"] for row in rows)  # nodes without offsets
        return MissingContent(text, _common([json.loads(row["metadata"]) for row in rows]))


def _common(metadata: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        key: value
        for key, value in metadata[0].items()
        if all(key in each and each[key] == value for each in metadata[1:])
    }
