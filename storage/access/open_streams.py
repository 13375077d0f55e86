"""How many streams of a subject are open, on all servers; those of a process that has died expire."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from storage.access.names import key_name
from storage.conflicts import rerun_on_conflict

if TYPE_CHECKING:
    from storage.database import Database


class OpenStreams:
    """The streams that count against a subject's limit."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    async def begin(self, tenant: str, subject: str, *, most: int, seconds: float) -> UUID | None:
        """Count a stream that lasts `seconds` at the most; None: there are as many as there may be."""
        holder = key_name(subject)
        async with self._database.transaction() as connection:
            # one at a time: what is counted cannot be locked, as it is not there yet
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"streams {tenant} {holder}"
            )
            await connection.execute(
                """DELETE FROM footnote.open_streams
                WHERE tenant_id = $1 AND subject = $2 AND expires_at < clock_timestamp()""",
                tenant,
                holder,
            )
            begun: UUID | None = await connection.fetchval(
                """INSERT INTO footnote.open_streams (id, tenant_id, subject, expires_at)
                SELECT $1, $2, $3, clock_timestamp() + make_interval(secs => $4)
                WHERE (SELECT count(*) FROM footnote.open_streams WHERE tenant_id = $2 AND subject = $3) < $5
                RETURNING id""",
                uuid4(),
                tenant,
                holder,
                seconds,
                most,
            )
        return begun

    async def end(self, tenant: str, stream: UUID) -> None:
        """Count a stream no more."""
        async with self._database.connection() as connection:
            await connection.execute(
                "DELETE FROM footnote.open_streams WHERE tenant_id = $1 AND id = $2", tenant, stream
            )
