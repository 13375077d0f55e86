"""How many streams of a subject and of a key are open, on all servers; those of a process that has died expire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from storage.access.names import key_name
from storage.conflicts import rerun_on_conflict

if TYPE_CHECKING:
    from storage.database import Database


StreamScope = Literal["key", "subject"]


@dataclass(frozen=True, slots=True)
class StreamHolder:
    """Who has a stream, and how many a subject or a key may have; None: any number."""

    tenant: str
    subject: str
    key: str | None = None
    most_of_subject: int | None = None
    most_of_key: int | None = None


class OpenStreams:
    """The streams that count against the limit of a subject, or of a key."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    async def begin(self, who: StreamHolder, *, seconds: float) -> UUID | StreamScope:
        """Count a stream that lasts `seconds` at the most; else return whose limit refuses it."""
        subject, key = key_name(who.subject), None if who.key is None else key_name(who.key)
        async with self._database.transaction() as connection:
            # one at a time: what is counted cannot be locked, as it is not there yet
            holders = [f"streams {who.tenant} {subject}", *([f"streams of key {who.tenant} {key}"] if key else [])]
            for holder in sorted(holders):
                await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", holder)
            await connection.execute(_FORGET, who.tenant, subject, key)
            (row,) = await connection.fetch(_COUNT, who.tenant, subject, key)
            if who.most_of_key is not None and row["of_key"] >= who.most_of_key:
                return "key"
            if who.most_of_subject is not None and row["of_subject"] >= who.most_of_subject:
                return "subject"
            begun: UUID = await connection.fetchval(_BEGIN, uuid4(), who.tenant, subject, key, seconds)
        return begun

    async def end(self, tenant: str, stream: UUID) -> None:
        """Count a stream no more."""
        async with self._database.connection() as connection:
            await connection.execute(
                "DELETE FROM footnote.open_streams WHERE tenant_id = $1 AND id = $2", tenant, stream
            )


_FORGET = """
    DELETE FROM footnote.open_streams
    WHERE tenant_id = $1 AND (subject = $2 OR key_id = $3) AND expires_at < clock_timestamp()"""
_COUNT = """
    SELECT count(*) FILTER (WHERE subject = $2) AS of_subject, count(*) FILTER (WHERE key_id = $3) AS of_key
    FROM footnote.open_streams WHERE tenant_id = $1 AND (subject = $2 OR key_id = $3)"""
_BEGIN = """
    INSERT INTO footnote.open_streams (id, tenant_id, subject, key_id, expires_at)
    VALUES ($1, $2, $3, $4, clock_timestamp() + make_interval(secs => $5)) RETURNING id"""
