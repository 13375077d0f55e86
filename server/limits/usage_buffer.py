"""What calls of models have used, written for many calls at once where no budget depends on it.

A transaction for each answer costs a tenth of the requests that a server can answer, and all of a tenant's wait for
the same rows.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence

import structlog

from config.errors import FootnoteError
from storage.access.spending import Payer, Tally
from storage.caller import acting_as, service_of

WRITING_SECONDS = 0.5
"""So long calls are collected: a process that is killed forgets so much of what they used."""
CLOSING_SECONDS = 5.0
PAUSES = (0.0, 0.5, 2.0, 8.0)
"""Seconds before each attempt to write."""
Write = Callable[[Payer, Sequence[Tally]], Awaitable[None]]
_log = structlog.get_logger(__name__)


class UsageBuffer:
    """Adds calls up by tenant, subject, key, model and collection, and writes the sums.

    Args:
        write: writes the sums of one payer; raises `FootnoteError` where it could not, and has written nothing then.

    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._collected: dict[tuple[Payer, str, str], Tally] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._next: asyncio.Task[None] | None = None

    def add(self, payer: Payer, tally: Tally) -> None:
        """Collect a call's usage, and see to it that it will be written."""
        place = (payer, tally.model, tally.collection)
        before = self._collected.get(place)
        self._collected[place] = tally if before is None else before.plus(tally)
        if self._next is None or self._next.done():
            # outside of the request's context: neither its trace nor its caller goes on
            self._next = asyncio.create_task(self._written_later(), context=contextvars.Context())

    async def flush(self, *, seconds: float) -> None:
        """Write what is collected, and wait for that, but not longer than `seconds`."""
        self._write_all()
        if self._writing:
            await asyncio.wait(self._writing, timeout=seconds)

    async def close(self) -> None:
        """Write what is collected; what that takes longer for than `CLOSING_SECONDS` is lost, and logged."""
        if self._next is not None:
            self._next.cancel()
        await self.flush(seconds=CLOSING_SECONDS)
        for task in self._writing:
            task.cancel()

    async def _written_later(self) -> None:
        await asyncio.sleep(WRITING_SECONDS)
        self._write_all()

    def _write_all(self) -> None:
        for payer, tallies in self._taken():
            task = asyncio.create_task(self._retried(payer, tallies))
            self._writing.add(task)
            task.add_done_callback(self._writing.discard)

    def _taken(self) -> list[tuple[Payer, list[Tally]]]:
        by_payer: dict[Payer, list[Tally]] = defaultdict(list)
        for (payer, _, _), tally in self._collected.items():
            by_payer[payer].append(tally)
        self._collected = {}
        return list(by_payer.items())

    async def _retried(self, payer: Payer, tallies: list[Tally]) -> None:
        is_written = False
        try:
            for pause in PAUSES:
                await asyncio.sleep(pause)
                if is_written := await self._is_written(payer, tallies):
                    return
        finally:
            if not is_written:
                calls, tokens = sum(each.calls for each in tallies), sum(each.tokens for each in tallies)
                _log.error("calls of a model were not counted", calls=calls, tokens=tokens)

    async def _is_written(self, payer: Payer, tallies: list[Tally]) -> bool:
        try:
            with acting_as(service_of(payer.tenant, payer.subject)):
                await self._write(payer, tallies)
        except FootnoteError as error:
            _log.warning("calls of a model are not counted yet", error=type(error).__name__)
            return False
        return True
