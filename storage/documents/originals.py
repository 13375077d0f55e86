"""The bytes of every document, by their SHA-256: what an index can be built anew from, wherever the files are."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from storage.caller import current_tenant, for_all_tenants
from storage.conflicts import rerun_on_conflict
from storage.errors import MissingKey, OriginalNotFound, WriteConflict
from storage.jobs.payloads import NEEDS_ORIGINAL

if TYPE_CHECKING:
    from storage.database import Connection, Database

BLOCK = 1 << 20
CHANGED = "the file was changed while it was read"
SPARED = timedelta(hours=1)  # an original that nothing points at yet may belong to a document that is being written


class Originals:
    """The originals of one tenant, in blocks of a megabyte; equal bytes are kept once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @rerun_on_conflict
    async def put(self, path: Path, *, content_hash: str) -> None:
        """Keep a file's bytes, unless they are kept already.

        Raises:
            WriteConflict: they are no longer those of the hash, or the file is gone.

        """
        try:
            file = await asyncio.to_thread(path.open, "rb")
        except OSError as exc:
            if await self._is_kept(content_hash):
                return
            msg = f"{path.name!r} went away while it was read"
            raise WriteConflict(msg) from exc
        with file:
            first = await asyncio.to_thread(file.read, BLOCK)
            if len(first) < BLOCK:
                await self._put_small(first, content_hash)
                return
            if await self._is_kept(content_hash):
                return
            file.seek(0)
            async with self._database.transaction(local={"statement_timeout": 0}) as connection:
                await self.put_within(connection, file, content_hash=content_hash)

    @rerun_on_conflict
    async def put_data(self, data: bytes, *, content_hash: str) -> None:
        """Keep bytes, unless they are kept already.

        Raises:
            WriteConflict: they are not those of the hash.

        """
        if len(data) < BLOCK:
            await self._put_small(data, content_hash)
            return
        async with self._database.transaction(local={"statement_timeout": 0}) as connection:
            await self.put_within(connection, io.BytesIO(data), content_hash=content_hash)

    async def _put_small(self, data: bytes, content_hash: str) -> None:
        """Keep what is one block, in one statement."""
        if hashlib.sha256(data).hexdigest() != content_hash:
            raise WriteConflict(CHANGED)
        async with self._database.connection() as connection:
            await connection.execute(
                """WITH made AS (
                       INSERT INTO footnote.originals (tenant_id, content_hash, bytes) VALUES ($1, $2, $3)
                       ON CONFLICT DO NOTHING RETURNING tenant_id, content_hash)
                   INSERT INTO footnote.original_blocks (tenant_id, content_hash, number, data)
                   SELECT tenant_id, content_hash, 0, $4 FROM made WHERE $3 > 0""",
                current_tenant(),
                content_hash,
                len(data),
                data,
            )

    async def put_within(self, connection: Connection, file: BinaryIO, *, content_hash: str) -> None:
        """Do as `put` does inside a transaction of the caller's; `file` is read from where it stands.

        Raises:
            WriteConflict: the bytes are not those of the hash; the transaction must not be committed.

        """
        if not await self._insert(connection, content_hash):
            return
        size, digest = 0, hashlib.sha256()
        number = 0
        while block := await asyncio.to_thread(file.read, BLOCK):
            digest.update(block)
            await connection.execute(
                "INSERT INTO footnote.original_blocks (tenant_id, content_hash, number, data) VALUES ($1, $2, $3, $4)",
                current_tenant(),
                content_hash,
                number,
                block,
            )
            size, number = size + len(block), number + 1
        if digest.hexdigest() != content_hash:
            raise WriteConflict(CHANGED)
        await connection.execute(
            "UPDATE footnote.originals SET bytes = $3 WHERE tenant_id = $1 AND content_hash = $2",
            current_tenant(),
            content_hash,
            size,
        )

    async def blocks(self, content_hash: str) -> AsyncIterator[bytes]:
        """Yield the bytes, a megabyte at a time.

        Raises:
            OriginalNotFound: they are not kept.

        """
        number = left = 0
        async with self._database.connection() as connection:
            size = await self._size(connection, content_hash)
        # a connection for each block: who takes them may be slow, a client on a thin line say
        while size is not None and (block := await self._block(content_hash, number)) is not None:
            yield block
            number, left = number + 1, size - BLOCK * number - len(block)
        if size is None or left > 0 or (size and not number):  # pruned before, or while we read
            raise OriginalNotFound(content_hash)

    async def write_to(self, content_hash: str, path: Path) -> None:
        """Write the bytes to a file.

        Raises:
            OriginalNotFound: they are not kept.

        """
        with await asyncio.to_thread(path.open, "wb") as file:
            async for block in self.blocks(content_hash):
                await asyncio.to_thread(file.write, block)

    async def prune(self) -> int:
        """Delete what no document of any tenant has pointed at for an hour; return how many there were."""
        try:
            return await self._prune()
        except MissingKey:  # a document was written that points at one of them, just now
            return await self._prune()

    @rerun_on_conflict
    @for_all_tenants
    async def _prune(self) -> int:
        async with self._database.transaction(local={"statement_timeout": 0}) as connection:
            done = await connection.execute(
                f"""DELETE FROM footnote.originals o WHERE created_at < now() - $1::interval
                    AND NOT EXISTS (SELECT FROM footnote.documents d
                                    WHERE d.tenant_id = o.tenant_id AND d.original = o.content_hash)
                    AND NOT EXISTS ({NEEDS_ORIGINAL})""",
                SPARED,
            )
        return int(done.split()[-1])

    async def _is_kept(self, content_hash: str) -> bool:
        async with self._database.connection() as connection:
            return await self._size(connection, content_hash) is not None

    async def _size(self, connection: Connection, content_hash: str) -> int | None:
        size: int | None = await connection.fetchval(
            "SELECT bytes FROM footnote.originals WHERE tenant_id = $1 AND content_hash = $2",
            current_tenant(),
            content_hash,
        )
        return size

    async def _insert(self, connection: Connection, content_hash: str) -> bool:
        """Claim the place of an original; wait for another who is writing the same."""
        inserted = await connection.fetchval(
            """INSERT INTO footnote.originals (tenant_id, content_hash, bytes) VALUES ($1, $2, 0)
               ON CONFLICT (tenant_id, content_hash) DO UPDATE SET created_at = now() RETURNING xmax = 0""",
            current_tenant(),
            content_hash,
        )
        return bool(inserted)

    async def _block(self, content_hash: str, number: int) -> bytes | None:
        async with self._database.connection() as connection:
            block: bytes | None = await connection.fetchval(
                "SELECT data FROM footnote.original_blocks WHERE tenant_id = $1 AND content_hash = $2 AND number = $3",
                current_tenant(),
                content_hash,
                number,
            )
        return block
