"""The record of who was shown which passages, written behind the answers.

An answer waits for none of it. What is noted is written within a moment; while the database is away it is kept, up to
`MOST_WAITING` answers. What is lost beyond that, or by the end of the process, is counted and logged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from config.background import running_beside
from config.errors import FootnoteError
from config.telemetry.metrics import EVIDENCE_LOST
from storage.access.evidence import AnswerEvidence, DocumentAnswer, Shown
from storage.errors import StoreTimeout, StoreUnavailable

if TYPE_CHECKING:
    from server.answers import Citation
    from storage.access.evidence import EvidenceStore
    from storage.cursors import Page

MOST_WAITING = 10_000
"""Answers that wait to be written, some 10 MB."""
AT_ONCE = 200
GATHERING_SECONDS = 0.2
"""For so long answers are gathered, to be written together."""
PAUSE_SECONDS = 1.0
CLOSING_SECONDS = 5.0
READING_SECONDS = 1.0
TIDY_SECONDS = 3600.0
AWAY = (StoreUnavailable, StoreTimeout)
_log = structlog.get_logger(__name__)


class EvidenceRecord:
    """Keeps and lists what was shown; use it from one event loop.

    Attributes:
        is_on: whether anything is noted; what was kept before is listed, and forgotten when its time comes, either way.

    """

    def __init__(self, store: EvidenceStore, *, is_on: bool, days: float) -> None:
        self.is_on = is_on
        self._store = store
        self._days = days
        self._waiting: deque[AnswerEvidence] = deque()
        self._noted = asyncio.Event()
        self._writing = asyncio.Lock()
        self._lost = 0

    def note(self, answer: AnswerEvidence) -> None:
        """Take note of an answer; it is lost, and counted, where too many wait to be written."""
        if len(self._waiting) >= MOST_WAITING:
            self._lose(1)
            return
        self._waiting.append(answer)
        self._noted.set()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Write what is noted until the block ends, then the rest."""
        try:
            async with running_beside(self._write_on()), running_beside(self._tidy_on()):
                yield
        finally:
            await self._flush(CLOSING_SECONDS)
            self._lose(len(self._waiting))
            self._waiting.clear()
            self._tell_of_losses()

    async def written(self) -> None:
        """Wait until what this process has noted is kept, for a second at the most."""
        await self._flush(READING_SECONDS)

    async def answers_of(
        self, document_id: str, *, collection: str, limit: int, cursor: str | None = None, cited: bool | None = None
    ) -> Page[DocumentAnswer]:
        """List the answers that showed a document to whoever the caller sees; those of this process are all there.

        Raises:
            InvalidCursor: Footnote did not issue the cursor.

        """
        await self.written()
        return await self._store.list(document_id, collection=collection, limit=limit, cursor=cursor, cited=cited)

    async def _write_on(self) -> None:
        while True:
            await self._noted.wait()
            await asyncio.sleep(GATHERING_SECONDS)
            if not await self._write():
                await asyncio.sleep(PAUSE_SECONDS)

    async def _flush(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._waiting and not await self._write():  # noqa: ASYNC110 (nobody tells when it answers)
                    await asyncio.sleep(GATHERING_SECONDS)
        except TimeoutError:
            _log.info("not all that was shown is written yet", waiting=len(self._waiting))

    async def _write(self) -> bool:
        """Write what waits; tell whether that succeeded, or is to be tried again."""
        async with self._writing:
            while self._waiting:
                batch = list(islice(self._waiting, AT_ONCE))
                if not await self._is_written(batch):
                    return False
                for _ in batch:
                    self._waiting.popleft()
            self._noted.clear()
            self._tell_of_losses()
        return True

    async def _is_written(self, batch: Sequence[AnswerEvidence]) -> bool:
        try:
            await self._store.write(batch)
        except AWAY as exc:
            _log.debug("what was shown is not written yet", error=type(exc).__name__)
            return False
        except FootnoteError as exc:
            if len(batch) > 1:  # one of them cannot be written: the others must not be lost with it
                return all([await self._is_written([each]) for each in batch])
            _log.error("an answer's evidence cannot be written", error=type(exc).__name__, answer=str(batch[0].id))
            self._lose(1)
        return True

    def _lose(self, answers: int) -> None:
        if answers:
            EVIDENCE_LOST.add(answers)
            self._lost += answers

    def _tell_of_losses(self) -> None:
        if self._lost:
            _log.error("it is not recorded what these answers showed", answers=self._lost)
            self._lost = 0

    async def _tidy_on(self) -> None:
        while True:
            try:
                while await self._store.forget_old(days=self._days):
                    pass
            except FootnoteError as exc:
                _log.info("old evidence was not forgotten", error=type(exc).__name__)
            await asyncio.sleep(TIDY_SECONDS)


def shown_by(passages: Iterable[Citation], *, cited: Iterable[int]) -> tuple[Shown, ...]:
    """Return what passages show of each document, in the order of its first; `cited` are the numbers pointed at."""
    of_document: dict[str, list[Citation]] = {}
    for passage in passages:
        if passage.document_id:
            of_document.setdefault(passage.document_id, []).append(passage)
    numbers = {*cited}
    return tuple(
        Shown(
            document_id=document_id,
            chunk_ids=tuple(passage.node_id for passage in found),
            chunks=tuple(sorted({chunk for passage in found for chunk in passage.chunks or (passage.chunk_index,)})),
            cited=any(passage.id in numbers for passage in found),
        )
        for document_id, found in of_document.items()
    )
