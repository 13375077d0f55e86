"""Document frequencies of lexemes in a generation, for BM25; recounted from time to time.

Counts are exact when made, and made again once a share of the chunks is newer. Before the first count all words weigh
the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.conflicts import rerun_on_conflict

if TYPE_CHECKING:
    from storage.database import Connection, Database
    from storage.generation import Generation

STALE_SHARE = 0.1  # new chunks, as a share of those counted, before a recount: proportions hardly change until then


class Lexicon:
    """The lexemes of one generation."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        self._database = database
        self._generation = generation

    @rerun_on_conflict
    async def keep_up(self, *, stale_share: float = STALE_SHARE) -> bool:
        """Recount if more than a share of the chunks is newer; return whether it was done.

        Does nothing if another process is counting.
        """
        async with self._database.transaction(local={"statement_timeout": 0}) as connection:
            key = f"lexicon {self._generation.id}"
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", key):
                return False
            # lock the generation's row before its table, as dropping it does, to avoid a deadlock
            held = "SELECT true FROM footnote.generations WHERE id = $1 AND state <> 'dropped' FOR KEY SHARE"
            if not await connection.fetchval(held, self._generation.id):
                return False
            if not await connection.fetchval(_STALE.format(table=self._table), self._generation.id, stale_share):
                return False
            await self._count(connection)
        return True

    async def _count(self, connection: Connection) -> None:
        await connection.execute(_STATE.format(table=self._table, length=LENGTH), self._generation.id)
        await connection.execute(_LEXEMES.format(table=self._table), self._generation.id)

    @property
    def _table(self) -> str:
        return chunk_tables.qualified(self._generation.id)


LENGTH = "-(term_weights <#> '{1000000000:1}/1000000000')"  # see footnote.term_weights
_STALE = """
    SELECT (SELECT coalesce(max(id), 0) FROM {table}) >
        coalesce((SELECT last_chunk + $2::float8 * chunks FROM footnote.lexicons WHERE generation_id = $1), 0)"""
_STATE = """
    INSERT INTO footnote.lexicons (generation_id, chunks, average_length, last_chunk)
    SELECT $1, count(*), coalesce(avg({length}), 0), coalesce(max(id), 0) FROM {table}
    ON CONFLICT (generation_id) DO UPDATE SET chunks = excluded.chunks, average_length = excluded.average_length,
        last_chunk = excluded.last_chunk, counted_at = excluded.counted_at"""
_LEXEMES = """
    WITH counted AS MATERIALIZED (
        SELECT word AS lexeme, ndoc AS chunks FROM ts_stat('SELECT text_search_tsv FROM {table}')
    ), gone AS (
        DELETE FROM footnote.lexicon x WHERE generation_id = $1
            AND NOT EXISTS (SELECT FROM counted c WHERE c.lexeme = x.lexeme)
    )
    INSERT INTO footnote.lexicon AS x (generation_id, lexeme, chunks) SELECT $1, lexeme, chunks FROM counted
    ON CONFLICT (generation_id, lexeme) DO UPDATE SET chunks = excluded.chunks WHERE x.chunks <> excluded.chunks"""
