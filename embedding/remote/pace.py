"""How much of passages a remote model is asked for at once: less after a request that was not answered in time.

A server that works on one request after the other lets each wait for those before it. What is then given up after
`TIMEOUT` may still be computed there, and sent again it waits behind itself: nothing is answered any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from config.settings import EmbeddingSettings

BEARABLE = 0.75
"""Of `TIMEOUT`, in which a server that works on one request after the other has to answer, or no more are sent."""
FADING = 0.9
"""What each further answer leaves of how slow earlier ones were: one to a short request says little."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to send one request.

    Attributes:
        texts: that it may have.
        is_alone: no other is under way meanwhile.
        lowered: how often less was asked for before it.

    """

    texts: int
    is_alone: bool
    lowered: int


class Pace:
    """Bounds requests at once, and the texts of each, by what the server answers in time. Use it on one event loop.

    The first request goes alone; each round of answers admits twice as many at once, up to the settings, as long as a
    server that works on one after the other would bear it. A request that times out halves both. The next one is then
    a single text, alone, until it is answered: it waits for what the server still computes of those given up, and costs
    little if it is given up, too. After that requests grow by a text with each answer, and when they are whole, their
    number by one with each round.
    """

    def __init__(self, settings: EmbeddingSettings, *, model: str) -> None:
        self._model = model
        self._most, self._most_texts = settings.concurrency, settings.batch_size
        self._timeout = settings.timeout
        self._at_once, self._texts = 1, settings.batch_size
        self._under_way = self._waiting = 0
        self._lowered = 0
        self._is_trying = False
        """A single text finds out whether the server answers again."""
        self._answers = 0
        """Of the present round."""
        self._slowest = 0.0
        self._is_told = False
        self._room = asyncio.Event()

    @property
    def slowed(self) -> str | None:
        """Say how little is asked for at once since a request timed out; None if all that the settings allow."""
        if not self._lowered or (self._at_once, self._texts) == (self._most, self._most_texts):
            return None
        at_once, texts = self._now
        return f"slow: {at_once} of {self._most} requests at once, with {texts} of {self._most_texts} texts"

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """Wait until a request may be sent, which the block does."""
        self._waiting += 1
        try:
            while self._under_way >= self._now[0]:
                self._room.clear()
                await self._room.wait()
        finally:
            self._waiting -= 1
        at_once, texts = self._now
        self._under_way += 1
        try:
            yield Turn(texts=texts, is_alone=at_once == 1, lowered=self._lowered)
        finally:
            self._under_way -= 1
            self._room.set()

    def answered(self, turn: Turn, *, texts: int, seconds: float) -> None:
        """Take note of an answer to a request with so many texts, within the turn's block."""
        if turn.lowered != self._lowered:  # it says how the server was before
            return
        self._slowest = max(seconds, FADING * self._slowest)
        if self._is_trying:
            self._is_trying = False
        elif texts == self._texts < self._most_texts:
            self._texts += self._bears(texts + 1, instead_of=texts)
        elif self._at_once < self._most and self._under_way + self._waiting >= self._at_once:
            self._answers += 1
            if self._answers >= self._at_once:
                self._answers = 0
                self._raise()
        if self.slowed is None:
            self._is_told = False

    def timed_out(self, turn: Turn, *, texts: int) -> None:
        """Take note of a request with so many texts that was given up; those sent before the last such say no more."""
        if turn.lowered != self._lowered or self._is_trying:
            return
        self._lowered += 1
        self._at_once = max(1, self._at_once // 2)
        self._texts = max(1, min(self._texts, texts) // 2)
        self._is_trying = True
        self._answers = 0
        (_log.info if self._is_told else _log.warning)(
            "the embedding server did not answer within EMBEDDING__TIMEOUT; it is sent a single text, then fewer "
            "requests at once than EMBEDDING__CONCURRENCY, with fewer texts than EMBEDDING__BATCH_SIZE",
            model=self._model,
            timeout=self._timeout,
            concurrency=f"{self._at_once} of {self._most}",
            batch_size=f"{self._texts} of {self._most_texts}",
        )
        self._is_told = True

    @property
    def _now(self) -> tuple[int, int]:
        """Requests at once, and the texts of one."""
        return (1, 1) if self._is_trying else (self._at_once, self._texts)

    def _raise(self) -> None:
        """Admit more at once: twice as many at first, later one more."""
        for more in (self._at_once + 1,) if self._lowered else (2 * self._at_once, self._at_once + 1):
            if self._bears(more, instead_of=self._at_once):
                self._at_once = min(more, self._most)
                return

    def _bears(self, more: int, *, instead_of: int) -> bool:
        return self._slowest * more / instead_of <= BEARABLE * self._timeout
