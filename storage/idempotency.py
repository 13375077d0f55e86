"""Idempotency keys and the answers that were given to them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from storage.collections import DEFAULT_TENANT
from storage.errors import IdempotencyKeyReused

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
    """Keys of one tenant; who answers a key holds its lease.

    Locks are taken in one order: key, lease.
    """

    def __init__(self, database: Database, *, leases: Leases, hours: float, tenant: str = DEFAULT_TENANT) -> None:
        self._database = database
        self._leases = leases
        self._kept_for = timedelta(hours=hours)
        self._tenant = tenant

    async def take(self, key: str, *, fingerprint: str, stream_id: str) -> KeyState:
        """Take a key, unless it has an answer or somebody is at it.

        Raises:
            IdempotencyKeyReused: it came with another request before.

        """
        async with self._database.transaction() as connection:
            await self._forget_old(connection, key)
            row = await connection.fetchrow(
                """SELECT fingerprint, stream_id, answer FROM footnote.idempotency_keys
                   WHERE tenant_id = $1 AND key = $2 FOR UPDATE""",
                self._tenant,
                key,
            )
            if row is not None and row["fingerprint"] != fingerprint:
                raise IdempotencyKeyReused
            if row is not None and row["answer"] is not None:
                return KeyState(mine=False, stream_id=row["stream_id"], answer_json=row["answer"])
            if not await self._leases.take(connection, self._lease(key)):
                return KeyState(mine=False, stream_id=row["stream_id"] if row else "", answer_json=None)
            mine = await connection.fetchval(
                """INSERT INTO footnote.idempotency_keys AS k (tenant_id, key, fingerprint, stream_id, expires_at)
                   VALUES ($1, $2, $3, $4, now() + $5)
                   ON CONFLICT (tenant_id, key) DO UPDATE SET stream_id = $4, expires_at = excluded.expires_at
                   WHERE k.answer IS NULL AND k.fingerprint = $3 RETURNING true""",
                self._tenant,
                key,
                fingerprint,
                stream_id,
                self._kept_for,
            )
            if not mine:  # somebody took and answered it since we looked
                await self._leases.give_back(connection, self._lease(key))
        return KeyState(mine=bool(mine), stream_id=stream_id if mine else "", answer_json=None)

    def at_work(self, key: str) -> AbstractContextManager[None]:
        """Keep a key that was taken while the block lasts."""
        return self._leases.kept(self._lease(key))

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
        # the key is locked before its lease, here as in `take`
        await connection.execute(
            """UPDATE footnote.idempotency_keys SET answer = $3, conversation_id = $4
               WHERE tenant_id = $1 AND key = $2""",
            self._tenant,
            key,
            answer_json,
            conversation_id,
        )
        await self._leases.confirm(connection, self._lease(key))
        await self._leases.give_back(connection, self._lease(key))

    async def release(self, key: str) -> None:
        """Give a key back that has no answer: the next request may try again."""
        async with self._database.transaction() as connection:
            await connection.execute(
                "DELETE FROM footnote.idempotency_keys WHERE tenant_id = $1 AND key = $2 AND answer IS NULL",
                self._tenant,
                key,
            )
            await self._leases.give_back(connection, self._lease(key))

    async def _forget_old(self, connection: Connection, key: str) -> None:
        """Delete the key if it is too old, and some others that are."""
        await connection.execute(
            "DELETE FROM footnote.idempotency_keys WHERE tenant_id = $1 AND key = $2 AND expires_at < now()",
            self._tenant,
            key,
        )
        await connection.execute(
            """DELETE FROM footnote.idempotency_keys WHERE ctid IN (
                   SELECT ctid FROM footnote.idempotency_keys WHERE expires_at < now() LIMIT 20 FOR UPDATE SKIP LOCKED
               )"""
        )

    def _lease(self, key: str) -> str:
        return f"key {self._tenant} {key}"
