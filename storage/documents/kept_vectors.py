"""Vectors that were paid for and are in no document yet: an ingestion that is killed does not pay for them again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from storage.caller import current_tenant, for_all_tenants
from storage.conflicts import rerun_on_conflict

if TYPE_CHECKING:
    from uuid import UUID

    from numpy.typing import NDArray

    from storage.database import Database

DAYS = 7.0
"""How long vectors are kept that no document took."""
SWEPT_AT_ONCE = 5000
_NUMBERS = np.dtype("<f4")


class KeptVectors:
    """The vectors of one model (`fingerprint`) that are kept for the caller's tenant, by the hash of the text."""

    def __init__(self, database: Database, *, fingerprint: str) -> None:
        self._database = database
        self._fingerprint = fingerprint

    async def find(self, hashes: Iterable[UUID]) -> dict[UUID, NDArray[np.float32]]:
        """Return the vectors of those texts that have one; each of shape (dimension,), float32."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_FIND, current_tenant(), self._fingerprint, list(hashes))
        return {row["text_hash"]: np.frombuffer(row["vector"], dtype=_NUMBERS).astype(np.float32) for row in rows}

    @rerun_on_conflict
    async def keep(self, vectors: Mapping[UUID, NDArray[np.float32]]) -> None:
        """Keep vectors; one that is kept already stays."""
        hashes = sorted(vectors)
        numbers = [vectors[each].astype(_NUMBERS).tobytes() for each in hashes]
        async with self._database.connection() as connection:
            await connection.execute(_KEEP, current_tenant(), self._fingerprint, hashes, numbers)

    @rerun_on_conflict
    async def forget(self, hashes: Iterable[UUID]) -> None:
        """Delete vectors that documents have now."""
        async with self._database.connection() as connection:
            await connection.execute(_FORGET, current_tenant(), self._fingerprint, sorted(hashes))

    async def kept_bytes(self) -> int:
        """Return what all vectors of the tenant take, of whichever model."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(_BYTES, current_tenant()))

    @for_all_tenants
    async def forget_old(self, *, days: float = DAYS) -> int:
        """Delete a bounded number of vectors of all tenants that are older than `days`; return how many."""
        async with self._database.connection() as connection:
            done = await connection.execute(_FORGET_OLD, timedelta(days=days), SWEPT_AT_ONCE)
        return int(done.split()[-1])


_FIND = """
    SELECT text_hash, vector FROM footnote.kept_vectors
    WHERE tenant_id = $1 AND fingerprint = $2 AND text_hash = ANY($3::uuid[])"""
# a tenant may be on its way out
_KEEP = """
    INSERT INTO footnote.kept_vectors (tenant_id, fingerprint, text_hash, vector, kept_at)
    SELECT t.id, $2, v.text_hash, v.vector, clock_timestamp()
    FROM footnote.tenants t, unnest($3::uuid[], $4::bytea[]) AS v (text_hash, vector)
    WHERE t.id = $1 AND t.status <> 'deleting'
    ORDER BY v.text_hash ON CONFLICT DO NOTHING"""
_FORGET = """
    DELETE FROM footnote.kept_vectors k USING (
        SELECT text_hash FROM footnote.kept_vectors
        WHERE tenant_id = $1 AND fingerprint = $2 AND text_hash = ANY($3::uuid[])
        ORDER BY text_hash FOR UPDATE SKIP LOCKED
    ) done
    WHERE k.tenant_id = $1 AND k.fingerprint = $2 AND k.text_hash = done.text_hash"""
_BYTES = """
    SELECT coalesce(sum(octet_length(vector)), 0)::bigint FROM footnote.kept_vectors WHERE tenant_id = $1"""
_FORGET_OLD = """
    DELETE FROM footnote.kept_vectors k USING (
        SELECT tenant_id, fingerprint, text_hash FROM footnote.kept_vectors
        WHERE kept_at < clock_timestamp() - $1::interval ORDER BY kept_at LIMIT $2 FOR UPDATE SKIP LOCKED
    ) old
    WHERE (k.tenant_id, k.fingerprint, k.text_hash) = (old.tenant_id, old.fingerprint, old.text_hash)"""
