"""What a tenant brings and keeps: uploads and bytes a day, documents and chunks stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.database import Connection

UNBOUNDED = 2**62
_CHARGE = """
    INSERT INTO footnote.uploads AS u (tenant_id, day, uploads, bytes)
    SELECT $1, $2, 1, $3::bigint WHERE $4::bigint >= 1 AND $3 <= $5::bigint
    ON CONFLICT (tenant_id, day) DO UPDATE SET uploads = u.uploads + 1, bytes = u.bytes + excluded.bytes
        WHERE u.uploads < $4 AND u.bytes + excluded.bytes <= $5
    RETURNING true"""
_COUNT = """
    WITH answering AS (
        SELECT d.id, c.name, d.chunks FROM footnote.documents d
        JOIN footnote.generations g ON g.id = d.generation_id AND g.state = 'active'
        JOIN footnote.collections c ON c.id = g.collection_id WHERE d.tenant_id = $1
    )
    SELECT (SELECT count(*) FROM answering) AS documents,
        (SELECT coalesce(sum(chunks), 0) FROM answering)::bigint AS chunks,
        (SELECT count(*) FROM (SELECT DISTINCT collection, document_id FROM footnote.jobs WHERE tenant_id = $1
            AND status IN ('queued', 'running') AND document_id IS NOT NULL) j
            WHERE NOT EXISTS (SELECT FROM answering a WHERE a.id = j.document_id AND a.name = j.collection)
        ) AS coming"""

_COUNT_OF = """
    SELECT count(*) AS documents, coalesce(sum(chunks), 0)::bigint AS chunks FROM footnote.documents
    WHERE generation_id = $1 AND (id = ANY($2) OR parent = ANY($2))"""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a tenant keeps; `coming`: documents that jobs will add."""

    documents: int
    chunks: int
    coming: int


async def charge_upload(
    connection: Connection, tenant: str, day: date, *, size: int, most: int | None, most_bytes: int | None
) -> bool:
    """Count an upload within a transaction; False: it would be too many, or too much, for that day."""
    bounds = [UNBOUNDED if bound is None else bound for bound in (most, most_bytes)]
    return bool(await connection.fetchval(_CHARGE, tenant, day, size, *bounds))


async def forget_uploads_before(connection: Connection, tenant: str, day: date) -> None:
    """Delete the counts of days past."""
    await connection.execute("DELETE FROM footnote.uploads WHERE tenant_id = $1 AND day < $2", tenant, day)


async def count_stored(connection: Connection, tenant: str) -> Stored:
    """Count within a transaction, while nobody else adds to the tenant what is counted so."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"stored {tenant}")
    return await count_stored_now(connection, tenant)


async def count_stored_now(connection: Connection, tenant: str) -> Stored:
    """Count what there is at this moment."""
    (row,) = await connection.fetch(_COUNT, tenant)
    return Stored(**row)


async def count_of_documents(connection: Connection, generation_id: int, ids: Sequence[str]) -> Stored:
    """Count documents of a generation with their attachments."""
    (row,) = await connection.fetch(_COUNT_OF, generation_id, list(ids))
    return Stored(row["documents"], row["chunks"], 0)
