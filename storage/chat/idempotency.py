"""Idempotency keys and the answers that were given to them."""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from storage.caller import caller, current_tenant, for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.errors import IdempotencyKeyReused, LeaseLost

if TYPE_CHECKING:
    from storage.database import Connection, Database
    from storage.leases import Leases


@dataclass(frozen=True, slots=True)
class KeyState:
    """What is known of a key.

    Attributes:
        mine: this call has taken the key: answer, then `KeyStore.keep` or `KeyStore.release`.
        stream_id: of the stream that answers or answered it.
        answer_json: None while there is none.

    """

    mine: bool
    stream_id: str
    answer_json: str | None


class KeyStore:
    """Keys of the caller, who is one of a tenant; who answers a key holds its lease.

    Locks are taken in one order: lease, key.
    """

    def __init__(self, database: Database, *, leases: Leases, hours: float) -> None:
        self._database = database
        self._leases = leases
        self._kept_for = timedelta(hours=hours)

    @rerun_on_conflict
    async def take(self, key: str, *, fingerprint: str, stream_id: str) -> KeyState:
        """Take a key, unless it has an answer or somebody is at it.

        Raises:
            IdempotencyKeyReused: it came with another request before.

        """
        async with self._database.transaction() as connection:
            known = await self._known(connection, key, fingerprint)
            if known is not None and known.answer_json is not None:
                return known
            # the lease is locked before the row, here and in `keep` and `release`
            if not await self._leases.take(connection, self._lease(key)):
                return known or KeyState(mine=False, stream_id="", answer_json=None)
            known = await self._known(connection, key, fingerprint)
            if known is not None and known.answer_json is not None:  # it was kept just now
                await self._leases.give_back(connection, self._lease(key))
                return known
            await connection.execute(
                """INSERT INTO footnote.idempotency_keys (tenant_id, key, fingerprint, stream_id, expires_at)
                   VALUES ($1, $2, $3, $4, now() + $5)
                   ON CONFLICT (tenant_id, subject, key) DO UPDATE SET fingerprint = $3, stream_id = $4, answer = NULL,
                       conversation_id = NULL, created_at = now(), expires_at = excluded.expires_at""",
                current_tenant(),
                key,
                fingerprint,
                stream_id,
                self._kept_for,
            )
        return KeyState(mine=True, stream_id=stream_id, answer_json=None)

    async def _known(self, connection: Connection, key: str, fingerprint: str) -> KeyState | None:
        row = await connection.fetchrow(
            """SELECT fingerprint, stream_id, answer FROM footnote.idempotency_keys
               WHERE tenant_id = $1 AND key = $2 AND subject = current_setting('footnote.subject')
                   AND expires_at >= now()""",
            current_tenant(),
            key,
        )
        if row is None:
            return None
        if row["fingerprint"] != fingerprint:
            raise IdempotencyKeyReused
        return KeyState(mine=False, stream_id=row["stream_id"], answer_json=row["answer"])

    def at_work(self, key: str) -> AbstractContextManager[None]:
        """Keep a key that was taken while the block lasts."""
        return self._leases.kept(self._lease(key))

    @rerun_on_conflict
    async def keep(self, key: str, *, answer_json: str) -> None:
        """Keep the answer of a key that was taken.

        Raises:
            LeaseLost: another process has taken the key over.

        """
        async with self._database.transaction() as connection:
            await self.keep_within(connection, key, answer_json=answer_json, conversation_id=None)

    async def keep_within(
        self, connection: Connection, key: str, *, answer_json: str, conversation_id: UUID | None
    ) -> None:
        """Keep an answer in somebody else's transaction; see `keep`."""
        await self._leases.confirm(connection, self._lease(key))
        kept = await connection.fetchval(
            """UPDATE footnote.idempotency_keys SET answer = $3, conversation_id = $4
               WHERE tenant_id = $1 AND key = $2 AND subject = current_setting('footnote.subject') RETURNING true""",
            current_tenant(),
            key,
            answer_json,
            conversation_id,
        )
        if not kept:
            raise LeaseLost
        await self._leases.give_back(connection, self._lease(key))

    @rerun_on_conflict
    async def release(self, key: str) -> None:
        """Give a key back that has no answer: the next request may try again. Another process's is left alone."""
        async with self._database.transaction() as connection:
            if not await self._leases.is_held(connection, self._lease(key)):
                return
            await connection.execute(
                """DELETE FROM footnote.idempotency_keys
                   WHERE tenant_id = $1 AND key = $2 AND subject = current_setting('footnote.subject')
                   AND answer IS NULL""",
                current_tenant(),
                key,
            )
            await self._leases.give_back(connection, self._lease(key))

    @rerun_on_conflict
    @for_all_tenants
    async def forget_old(self) -> None:
        """Delete the answers whose time is over."""
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM footnote.idempotency_keys WHERE expires_at < now()")

    def _lease(self, key: str) -> str:
        who = caller()
        subject = hashlib.sha256(who.subject.encode()).hexdigest()[:32] if who else ""  # names of leases are bounded
        return f"key {current_tenant()} {subject} {key}"
