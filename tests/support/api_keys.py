"""API keys without a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from server.auth.key_text import KeyText
from server.auth.known_keys import KnownKeys
from storage.access.keys import ApiKey, NewApiKey
from storage.cursors import Page, decode_cursor, encode_cursor
from storage.errors import KeyNotFound


class ApiKeysInMemory:
    """What `storage.access.keys.ApiKeys` does, for one process; `error` is raised instead where it is set."""

    def __init__(self) -> None:
        self.stored: dict[str, ApiKey] = {}
        self.used: dict[str, datetime] = {}
        self.looks = 0
        self.error: Exception | None = None
        self._known: KnownKeys | None = None

    def known(self, *, grace: float = 300, **options: Any) -> KnownKeys:
        """Return the cache over these keys, which hears of changes at once."""
        self._known = KnownKeys(self, grace=grace, **options)  # type: ignore[arg-type]
        self._known.is_listening(True)
        return self._known

    def make(self, *scopes: str, **members: Any) -> str:
        """Store a key with these scopes; return its text."""
        text = KeyText.new()
        named = {"name": "test", "tenant": "public", "subject": "ada", **members}
        key = ApiKey(id=text.id, secret_hash=text.secret_hash, scopes=scopes, created_at=datetime.now(UTC), **named)
        self._put(key)
        return str(text)

    async def find(self, key_id: str) -> ApiKey | None:
        self.looks += 1
        if self.error is not None:
            raise self.error
        return self.stored.get(key_id)

    async def create(self, new: NewApiKey) -> ApiKey:
        members = {name: getattr(new, name) for name in NewApiKey.__slots__}
        self._put(key := ApiKey(created_at=datetime.now(UTC), **members))
        return key

    async def list(
        self, *, tenant: str | None, subject: str | None = None, limit: int, cursor: str | None = None
    ) -> Page[ApiKey]:
        after = decode_cursor(cursor)
        found = [
            key
            for key in sorted(self.stored.values(), key=lambda key: key.id)
            if key.id > after and tenant in {None, key.tenant} and subject in {None, key.subject}
        ]
        page = tuple(found[:limit])
        return Page(page, encode_cursor(page[-1].id) if len(found) > limit else None)

    async def rotate(self, key_id: str, *, secret_hash: bytes, overlap: timedelta) -> ApiKey:
        key, now = self.stored.get(key_id), datetime.now(UTC)
        if key is None or key.revoked_at or (key.expires_at and key.expires_at <= now):
            raise KeyNotFound(key_id)
        until = now + overlap if overlap else None
        former = key.secret_hash if overlap else None
        changed = replace(key, secret_hash=secret_hash, previous_hash=former, previous_until=until, rotated_at=now)
        self._put(changed)
        return changed

    async def limit(self, key_id: str, limits: Mapping[str, object]) -> ApiKey:
        if (key := self.stored.get(key_id)) is None or key.revoked_at:
            raise KeyNotFound(key_id)
        self._put(changed := replace(key, limits=dict(limits)))
        return changed

    async def revoke(self, key_id: str) -> None:
        if (key := self.stored.get(key_id)) is None:
            raise KeyNotFound(key_id)
        self._put(replace(key, revoked_at=key.revoked_at or datetime.now(UTC)))

    async def note_used(self, used: Mapping[str, datetime]) -> None:
        self.used.update(used)

    def _put(self, key: ApiKey) -> None:
        self.stored[key.id] = key
        if self._known is not None:
            self._known.changed(key.id)
