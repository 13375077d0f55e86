"""Finding out whether a pooler (PgBouncer, pgcat, Odyssey, Supavisor) stands before PostgreSQL, and in which mode.

A pooler gives its clients a cancel key of its own, so the process id in it is not the one that `pg_backend_pid` says.
In session mode a client keeps one PostgreSQL process until it leaves, and nobody else can have it meanwhile: if one
client sees two processes, or two clients see the same one, sessions are shared, transaction by transaction.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

    Session = asyncpg.Connection[asyncpg.Record]

CLIENTS = 6
"""Of one probe. A pooler may be several processes behind one address, which share no sessions: among this many
clients, two meet at the same one of up to five."""
ROUNDS = 3
LENDING_SECONDS = 2.0
"""After which a client that gets no PostgreSQL process is taken to wait for one that others keep."""


class Pooler(StrEnum):
    """What stands between this process and PostgreSQL."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


async def find(connect: Callable[[], Awaitable[Session]], *, most: int = CLIENTS) -> Pooler:
    """Find out what the connections that `connect` opens lead to: it opens one; up to `most` where there is a pooler.

    Of few clients none may meet another one. What they find to be shared by the transaction is so nevertheless.
    """
    async with AsyncExitStack() as stack:
        clients: list[Session] = []
        seen: list[set[int]] = []  # by each client
        for _ in range(most):
            client = await connect()
            stack.callback(client.terminate)
            process = await _process_beside(client, others=clients)
            if process is None:
                return Pooler.SESSION
            if not clients and process == client.get_server_pid():
                return Pooler.NONE
            clients.append(client)
            seen.append({process})
            for _ in range(ROUNDS):
                for each, processes in zip(clients, seen, strict=True):
                    processes.add(await _process(each))
                if len(set().union(*seen)) < len(seen) or any(len(processes) > 1 for processes in seen):
                    async with clients[0].transaction(readonly=True):  # fails where each statement has its own
                        return Pooler.TRANSACTION
        return Pooler.SESSION


async def _process_beside(client: Session, *, others: Sequence[Session]) -> int | None:
    """Return the process that a client gets; None if it waits for one while another client, who asks later, has one."""
    asking = asyncio.ensure_future(_process(client))
    try:
        await asyncio.wait({asking}, timeout=LENDING_SECONDS)
        if not asking.done() and others:
            await _process(others[0])
            if not asking.done():
                return None
        return await asking
    finally:
        asking.cancel()


async def _process(client: Session) -> int:
    process: int = await client.fetchval("SELECT pg_backend_pid()")
    return process
