"""How servers learn at once that a key was made, changed or revoked: PostgreSQL's ``NOTIFY``.

A connection that breaks without a word would keep a revoked key alive, so it is tried every second; whoever listens is
told when nobody can be sure any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from config.errors import FootnoteError

if TYPE_CHECKING:
    from storage.database import Database

CHANNEL = "footnote_keys"
CHECK_SECONDS = 1.0
CHECK_TIMEOUT = 1.0
RECONNECT_SECONDS = 0.5
_log = structlog.get_logger(__name__)


async def listen(database: Database, *, changed: Callable[[str], None], is_listening: Callable[[bool], None]) -> None:
    """Call `changed` with the id of each key that changes, until this is cancelled; reconnect where that is needed.

    `is_listening` is called with True once changes are heard of, and with False when they no longer are.
    """
    while True:
        try:
            renewals = database.renewals
            async with database.dedicated() as connection:
                await connection.add_listener(CHANNEL, lambda *notice: changed(str(notice[-1])))
                is_listening(True)
                while database.renewals == renewals:
                    await asyncio.sleep(CHECK_SECONDS)
                    await connection.fetchval("SELECT 1", timeout=CHECK_TIMEOUT)
        except (FootnoteError, TimeoutError) as exc:
            _log.info("changes of keys are not heard of for now", error=type(exc).__name__)
        finally:
            is_listening(False)
        await asyncio.sleep(RECONNECT_SECONDS)
