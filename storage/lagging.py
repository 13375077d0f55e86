"""What one generation lacks of another: the documents that are newer there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from storage.document_text import text_of
from storage.generations import LAGGING

if TYPE_CHECKING:
    from storage.collections import Generation
    from storage.database import Database


@dataclass(frozen=True, slots=True)
class LaggingDocument:
    """A document of the reference, as far as it takes to make it anew."""

    id: str
    source: str
    location: str | None
    title: str
    metadata: Mapping[str, Any]
    content_hash: str
    pipeline_fingerprint: str
    revision: int
    original: str | None


class Lagging:
    """Documents that `target` lacks, or has in an older version than `reference`."""

    def __init__(self, database: Database, *, target: Generation, reference: Generation) -> None:
        self._database = database
        self._target = target
        self._reference = reference

    async def page(self, *, after: str, limit: int) -> list[LaggingDocument]:
        """Return the next of them, by id."""
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
        return [LaggingDocument(**{**dict(row), "metadata": json.loads(row["metadata"])}) for row in rows]

    async def count(self) -> int:
        """Count them."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(f"SELECT count(*) {LAGGING}", self._reference.id, self._target.id))

    async def text(self, document_id: str) -> str:
        """Return a document's text, put together from its chunks in the reference.

        Raises:
            DocumentNotFound: it is gone.

        """
        async with self._database.connection() as connection:
            return await text_of(connection, self._reference.id, document_id)
