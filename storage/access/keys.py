"""API keys as rows: who a key stands for, and the hash of its secret."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from storage.caller import for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.errors import KeyNotFound, TenantNotFound

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Database

_COLUMNS = """id, tenant_id, subject, name, groups, scopes, collections, secret_hash, previous_hash, previous_until,
    created_at, rotated_at, expires_at, revoked_at, last_used_at, limits"""


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key to store.

    Attributes:
        id: twelve lower-case letters and digits, which the key shows.
        secret_hash: SHA-256 of the secret, which is stored nowhere.
        collections: names of those that it reaches; None: all.
        expires_at: from when on it is refused; None: never.
        limits: those of its own, by `LimitSettings`' names, which the caller has checked.

    """

    id: str
    secret_hash: bytes = field(repr=False)
    name: str
    tenant: str
    subject: str
    scopes: tuple[str, ...]
    groups: tuple[str, ...] = ()
    collections: tuple[str, ...] | None = None
    expires_at: datetime | None = None
    limits: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey(NewApiKey):
    """A stored key.

    Attributes:
        previous_hash: of the secret before the last rotation, which is good until `previous_until`.
        last_used_at: within a minute or so.
        tenant_since: when its tenant was made; only `ApiKeys.find` says so.

    """

    previous_hash: bytes | None = field(default=None, repr=False)
    previous_until: datetime | None = None
    created_at: datetime
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    tenant_since: datetime | None = None


class ApiKeys:
    """The keys of all tenants; whoever calls it says which tenant is meant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @for_all_tenants
    async def find(self, key_id: str) -> ApiKey | None:
        """Return a key, also one that was revoked or has expired; no caller need be known."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"""SELECT {_COLUMNS},
                        (SELECT t.created_at FROM footnote.tenants t WHERE t.id = tenant_id) AS tenant_since
                    FROM footnote.find_api_key($1)""",
                key_id,
            )
        return _key(row) if row else None

    @rerun_on_conflict
    @for_all_tenants
    async def create(self, new: NewApiKey) -> ApiKey:
        """Store a key.

        Raises:
            TenantNotFound: there is no such tenant.

        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                f"""INSERT INTO footnote.api_keys
                        (id, tenant_id, subject, name, groups, scopes, collections, secret_hash, expires_at, limits)
                    SELECT $1, t.id, $3, $4, $5, $6, $7, $8, $9, $10 FROM footnote.tenants t
                    WHERE t.id = $2 AND t.status <> 'deleting' RETURNING {_COLUMNS}""",
                new.id,
                new.tenant,
                new.subject,
                new.name,
                list(new.groups),
                list(new.scopes),
                None if new.collections is None else list(new.collections),
                new.secret_hash,
                new.expires_at,
                json.dumps(dict(new.limits)),
            )
        if row is None:
            raise TenantNotFound(new.tenant)
        return _key(row)

    @for_all_tenants
    async def list(
        self, *, tenant: str | None, subject: str | None = None, limit: int, cursor: str | None = None
    ) -> Page[ApiKey]:
        """List keys by id, of one tenant or all, and of one subject or all.

        Raises:
            InvalidCursor: Footnote did not issue the cursor.

        """
        after = decode_cursor(cursor)
        async with self._database.transaction(readonly=True) as connection:
            rows = await connection.fetch(
                f"""SELECT {_COLUMNS} FROM footnote.api_keys
                    WHERE ($1::text IS NULL OR tenant_id = $1) AND ($2::text IS NULL OR subject = $2) AND id > $3
                    ORDER BY id LIMIT $4""",
                tenant,
                subject,
                after,
                limit + 1,
            )
        items = tuple(_key(row) for row in rows[:limit])
        return Page(items, encode_cursor(items[-1].id) if len(rows) > limit else None)

    @rerun_on_conflict
    @for_all_tenants
    async def rotate(self, key_id: str, *, secret_hash: bytes, overlap: timedelta) -> ApiKey:
        """Give a key another secret; the one of now is good for `overlap` more, one before it no longer.

        Raises:
            KeyNotFound: there is no such key, or it was revoked or has expired.

        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                f"""UPDATE footnote.api_keys SET secret_hash = $2, rotated_at = now(),
                        previous_hash = CASE WHEN $3::interval > interval '0' THEN secret_hash END,
                        previous_until = CASE WHEN $3::interval > interval '0' THEN now() + $3::interval END
                    WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
                    RETURNING {_COLUMNS}""",
                key_id,
                secret_hash,
                overlap,
            )
        if row is None:
            raise KeyNotFound(key_id)
        return _key(row)

    @rerun_on_conflict
    @for_all_tenants
    async def limit(self, key_id: str, limits: Mapping[str, object]) -> ApiKey:
        """Replace a key's own limits, which the caller has checked.

        Raises:
            KeyNotFound: there is no such key, or it was revoked.

        """
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                f"""UPDATE footnote.api_keys SET limits = $2 WHERE id = $1 AND revoked_at IS NULL
                    RETURNING {_COLUMNS}""",
                key_id,
                json.dumps(dict(limits)),
            )
        if row is None:
            raise KeyNotFound(key_id)
        return _key(row)

    @rerun_on_conflict
    @for_all_tenants
    async def revoke(self, key_id: str) -> None:
        """Refuse a key from now on; once revoked it stays so, and listed.

        Raises:
            KeyNotFound: there is no such key.

        """
        async with self._database.transaction() as connection:
            found = await connection.fetchval(
                """UPDATE footnote.api_keys
                   SET revoked_at = coalesce(revoked_at, now()), previous_hash = NULL, previous_until = NULL
                   WHERE id = $1 RETURNING true""",
                key_id,
            )
        if not found:
            raise KeyNotFound(key_id)

    @for_all_tenants
    async def note_used(self, used: Mapping[str, datetime]) -> None:
        """Store when keys were last used; no caller need be known."""
        ids = sorted(used)
        async with self._database.connection() as connection:
            await connection.execute(
                "SELECT footnote.note_api_keys_used($1, $2)", ids, [used[key_id] for key_id in ids]
            )


def _key(row: asyncpg.Record | None) -> ApiKey:
    if row is None:  # pragma: no cover (an INSERT returns one)
        raise AssertionError
    members = {name: value for name, value in row.items() if name != "tenant_id"}
    members["limits"] = dict(sorted(json.loads(row["limits"]).items()))  # jsonb orders names by their lengths
    lists = {name: _tuple(members[name]) for name in ("groups", "scopes", "collections")}
    return ApiKey(tenant=row["tenant_id"], **(members | lists))


def _tuple(values: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)
