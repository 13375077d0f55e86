"""Documents that lack chunks, which another program deleted from their table."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.documents.rows import stored_row
from storage.documents.versions import NewDocument

if TYPE_CHECKING:
    from storage.database import Database
    from storage.generation import Generation

PAGE = 2000  # documents that one statement counts the chunks of


@dataclass(frozen=True, slots=True)
class IncompleteDocument:
    """A document with another number of chunks than were written.

    Attributes:
        row: its own, or that of the document that it is attached to, with which it is written.

    """

    id: str
    source: str
    chunks: int
    found: int
    row: NewDocument


class IncompleteDocuments:
    """Finds them in one generation."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        self._database = database
        self._generation = generation
        self._table = chunk_tables.qualified(generation.id)

    async def all(self) -> AsyncIterator[IncompleteDocument]:
        """Yield them by id, a bounded number of documents looked at in one statement."""
        after: str | None = ""
        while after is not None:
            found, after = await self._page(after)
            for each in found:
                yield each

    async def count(self) -> int:
        """Count the generation's documents."""
        async with self._database.connection() as connection:
            return int(
                await connection.fetchval(
                    "SELECT count(*) FROM footnote.documents WHERE generation_id = $1", self._generation.id
                )
            )

    async def _page(self, after: str) -> tuple[list[IncompleteDocument], str | None]:
        """Return those of a page, and its last id; None at the end."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""WITH page AS MATERIALIZED (
                        SELECT id, source, chunks, coalesce(parent, id) AS whole FROM footnote.documents
                        WHERE generation_id = $1 AND id > $2 ORDER BY id LIMIT {PAGE}),
                    counted AS MATERIALIZED (SELECT page.*, (
                        SELECT count(*) FROM {self._table} c WHERE c.document_id = page.id) AS found FROM page),
                    ends AS (SELECT max(id) AS last, count(*) = {PAGE} AS goes_on FROM page)
                    SELECT counted.*, ends.* FROM counted, ends WHERE chunks <> found OR id = last ORDER BY id""",
                self._generation.id,
                after,
            )
            made = []
            for row in rows:
                if row["chunks"] == row["found"]:
                    continue
                whole = await stored_row(connection, self._generation.id, row["whole"])
                if whole is not None:  # deleted meanwhile
                    made.append(IncompleteDocument(row["id"], row["source"], row["chunks"], row["found"], whole))
        return made, rows[0]["last"] if rows and rows[0]["goes_on"] else None
