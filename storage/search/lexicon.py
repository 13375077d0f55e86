"""Document frequencies of lexemes in a generation, for BM25; recounted from time to time.

Counts are exact when made, and made again once a share of the chunks is newer or was deleted, and some time after any
deletion. Before the first count all words weigh the same. How many chunks were deleted, by whomever and by whatever
statement, the database's own statistics tell: they cost no write, and are some seconds behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage import chunk_tables
from storage.caller import acting_as, for_all_tenants, service_of
from storage.conflicts import rerun_on_conflict
from storage.generation import COLUMNS, generation_of

if TYPE_CHECKING:
    from storage.database import Connection, Database
    from storage.generation import Generation

STALE_SHARE = 0.1  # new or deleted chunks, as a share of those counted: proportions hardly change until then
DELETED_SECONDS = 1800.0
"""How old a count may be that has lexemes of deleted chunks, before `recount_deletions` makes it anew."""


class Lexicon:
    """The lexemes of one generation."""

    def __init__(self, database: Database, *, generation: Generation) -> None:
        self._database = database
        self._generation = generation

    async def keep_up(self, *, stale_share: float = STALE_SHARE) -> bool:
        """Recount if more than a share of the chunks is newer, or was deleted since; return whether it was done.

        Does nothing if another process is counting.
        """
        with acting_as(service_of(self._generation.tenant_id)):  # whoever has written, for all tenants say
            return await self._keep_up(stale_share)

    @rerun_on_conflict
    async def _keep_up(self, stale_share: float) -> bool:
        async with self._database.transaction(local={"statement_timeout": 0}) as connection:
            key = f"lexicon {self._generation.id}"
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))", key):
                return False
            # lock the generation's row before its table, as dropping it does, to avoid a deadlock
            held = "SELECT true FROM footnote.generations WHERE id = $1 AND state <> 'dropped' FOR KEY SHARE"
            if not await connection.fetchval(held, self._generation.id):
                return False
            # before the count: what is deleted during it makes the next one
            deleted = await connection.fetchval(f"SELECT pg_stat_get_tuples_deleted('{self._table}'::regclass)")
            stale = _STALE.format(table=self._table)
            if not await connection.fetchval(stale, self._generation.id, stale_share, deleted):
                return False
            await self._count(connection, deleted=deleted)
        return True

    async def _count(self, connection: Connection, *, deleted: int) -> None:
        await connection.execute(_STATE.format(table=self._table, length=LENGTH), self._generation.id)
        await connection.execute(_DELETED, self._generation.id, deleted)
        await connection.execute(_LEXEMES.format(table=self._table), self._generation.id)

    @property
    def _table(self) -> str:
        return chunk_tables.qualified(self._generation.id)


@for_all_tenants
async def recount_deletions(database: Database, *, older_than: float = DELETED_SECONDS) -> int:
    """Recount generations whose count is `older_than` so many seconds and has words of deleted chunks; return how many.

    Called from time to time, it bounds how long such words stay. Counts that failed after a rewording are made, too.
    """
    async with database.connection() as connection:
        rows = await connection.fetch(f"SELECT {COLUMNS} {_WITH_DELETED}", older_than)
    return sum([await Lexicon(database, generation=generation_of(row)).keep_up(stale_share=0.0) for row in rows])


LENGTH = "-(term_weights <#> '{1000000000:1}/1000000000')"  # see footnote.term_weights
# the database begins its statistics anew after a crash: what was deleted before is not known then
_GONE = "CASE WHEN {now} < {then} THEN {now} + 1 ELSE {now} - {then} END"
_STALE = f"""
    SELECT greatest((SELECT coalesce(max(id), 0) FROM {{table}}) - last_chunk,
        {_GONE.format(now="$3", then="deleted")}) > $2::float8 * chunks
    FROM (SELECT coalesce(max(last_chunk), 0) AS last_chunk, coalesce(max(chunks), 0) AS chunks,
              coalesce(max(deleted), CASE WHEN count(*) = 0 THEN $3 ELSE 0 END) AS deleted
          FROM footnote.lexicons LEFT JOIN footnote.lexicon_deletions USING (generation_id)
          WHERE generation_id = $1) l"""
_DELETED = """
    INSERT INTO footnote.lexicon_deletions (generation_id, deleted) VALUES ($1, $2)
    ON CONFLICT (generation_id) DO UPDATE SET deleted = excluded.deleted"""
_WITH_DELETED = """
    FROM footnote.lexicons l JOIN footnote.generations g ON g.id = l.generation_id
    JOIN footnote.collections c ON c.id = g.collection_id
    LEFT JOIN footnote.lexicon_deletions d ON d.generation_id = g.id
    WHERE l.counted_at <= now() - make_interval(secs => $1)
    AND (pg_stat_get_tuples_deleted(to_regclass('footnote.data_generation_' || g.id)) <> coalesce(d.deleted, 0)
        OR l.last_chunk = 0 AND l.chunks > 0)"""
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
