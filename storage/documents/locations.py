"""Documents with the paths of their files, for `--sync` and `--dry-run`; attachments follow theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.conflicts import rerun_on_conflict
from storage.deletions import lock_documents, mark_deleted

if TYPE_CHECKING:
    from storage.database import Database
    from storage.generation import Generation


@dataclass(frozen=True, slots=True)
class LocatedDocument:
    """A document and the path of its file.

    Attributes:
        location: the file's absolute path; None if it was uploaded or fetched.
        size: bytes.
        original: hash under which its bytes are kept; None if they are not.
        name: file name.

    """

    id: str
    source: str
    location: str | None
    content_hash: str
    size: int
    chunks: int
    original: str | None
    name: str | None


class LocatedDocuments:
    """The documents of one generation."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        self._database = database
        self._generation = generation

    async def count(self) -> int:
        """Count all documents but attachments."""
        async with self._database.connection() as connection:
            return int(
                await connection.fetchval(
                    "SELECT count(*) FROM footnote.documents WHERE generation_id = $1 AND parent IS NULL",
                    self._generation.id,
                )
            )

    async def page(self, *, after: str, limit: int, with_files: bool = False) -> list[LocatedDocument]:
        """Return the next page by id; with `with_files` only documents that were files."""
        return await self._fetch(
            "id > $2 AND (location IS NOT NULL OR NOT $4) ORDER BY id LIMIT $3", after, limit, with_files
        )

    async def with_sources(self, sources: Sequence[str]) -> list[LocatedDocument]:
        """Return the documents with these sources that were not files."""
        return await self._fetch("source = ANY($2) AND location IS NULL ORDER BY id", list(sources))

    @rerun_on_conflict
    async def delete(self, document: LocatedDocument) -> bool:
        """Delete a document from every generation of the collection, unless it has moved or changed since it was read.

        Return whether it was deleted.
        """
        collection_id = self._generation.collection_id
        async with self._database.transaction() as connection:
            await lock_documents(connection, collection_id, sources={document.source}, ids={document.id})
            same = await connection.fetchval(
                """SELECT true FROM footnote.documents WHERE generation_id = $1 AND id = $2 AND source = $3
                   AND location IS NOT DISTINCT FROM $4 AND content_hash = $5""",
                self._generation.id,
                document.id,
                document.source,
                document.location,
                document.content_hash,
            )
            return bool(same and await mark_deleted(connection, collection_id, document_id=document.id))

    async def _fetch(self, condition: str, *values: object) -> list[LocatedDocument]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                "SELECT id, source, location, content_hash, bytes AS size, chunks, original, "
                "metadata ->> 'file_name' AS name FROM footnote.documents "
                f"WHERE generation_id = $1 AND parent IS NULL AND {condition}",
                self._generation.id,
                *values,
            )
        return [LocatedDocument(**dict(row)) for row in rows]
