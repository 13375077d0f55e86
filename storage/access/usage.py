"""The record of what calls of language models have used: a row a tenant, day, subject, key, model and collection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Literal

from storage.access.names import key_name
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.reach import reachable_collections

if TYPE_CHECKING:
    from storage.database import Database

By = Literal["day", "model", "collection", "subject"]
_COLUMN = {"day": "to_char(day, 'YYYY-MM-DD')", "model": "model", "collection": "collection", "subject": "subject"}


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used in one day, of one model, about one collection or by one subject.

    Attributes:
        name: that day (``2026-11-29``), model, collection or subject.
        cost_usd: of the calls whose price was known.
        unpriced_calls: those whose price was not.
        estimated_calls: those whose tokens the provider did not tell, such as of a stream that was cut.

    """

    name: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    unpriced_calls: int
    estimated_calls: int


class UsageRecord:
    """Reads the record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self,
        tenant: str,
        *,
        subject: str | None,
        first: date,
        last: date,
        by: By,
        limit: int,
        cursor: str | None = None,
    ) -> Page[Usage]:
        """List what a subject, or the whole tenant, used from one day to another, both included, in order of names.

        Whoever reaches some collections alone is told of what was used for these.

        Raises:
            InvalidCursor: Footnote did not issue the cursor.

        """
        column, reach = _COLUMN[by], reachable_collections()
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT {column} AS name, sum(calls)::bigint AS calls, sum(prompt_tokens)::bigint AS prompt_tokens,
                        sum(completion_tokens)::bigint AS completion_tokens, sum(usd)::float8 AS cost_usd,
                        sum(unpriced_calls)::bigint AS unpriced_calls, sum(estimated_calls)::bigint AS estimated_calls
                    FROM footnote.usage
                    WHERE tenant_id = $1 AND ($2::text IS NULL OR subject = $2) AND day BETWEEN $3 AND $4
                        AND ($5::text IS NULL OR {column} COLLATE "C" > $5)
                        AND ($7::text[] IS NULL OR collection = ANY($7))
                    GROUP BY {column} ORDER BY {column} COLLATE "C" LIMIT $6""",
                tenant,
                None if subject is None else key_name(subject),
                first,
                last,
                None if cursor is None else decode_cursor(cursor),
                limit + 1,
                None if reach is None else [key_name(name) for name in reach],
            )
        items = tuple(Usage(**row) for row in rows[:limit])
        return Page(items, encode_cursor(items[-1].name) if len(rows) > limit else None)
