"""Idempotency keys: a request that is sent again with the same key gets the same answer.

After the IETF's draft "The Idempotency-Key HTTP Header Field". A repeated request joins the answer that is being
written, or gets the stored one; the same key with another request is an error.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from opentelemetry import trace
from pydantic import TypeAdapter

from config.background import running_beside
from config.errors import FootnoteError
from config.telemetry.metrics import CACHE_LOOKUPS
from server.answers import Answer, Event, Transcript
from server.errors import InvalidIdempotencyKey, Overloaded
from server.waiting.background import Background
from storage.chat.idempotency import KeyState, KeyStore
from storage.database import storable

if TYPE_CHECKING:
    from server.streams.run import Run
    from server.streams.streams import Streams
    from storage.database import Connection

LOOK_SECONDS = 0.2
RECORDING_SECONDS = 10.0
WAITING_SECONDS = 1.0
TIDY_SECONDS = 600.0
_VALID_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_ANSWER = TypeAdapter(Answer)
HIT = {"footnote.cache": "answers", "footnote.result": "hit"}
MISS = {"footnote.cache": "answers", "footnote.result": "miss"}
_log = structlog.get_logger(__name__)


def require_valid_key(key: str) -> None:
    """Raise `InvalidIdempotencyKey` unless a key has 1 to 255 printable ASCII characters, none of them a space."""
    if not _VALID_KEY.fullmatch(key):
        raise InvalidIdempotencyKey


class Key:
    """A key that this process has taken, and has to answer or release."""

    def __init__(self, key: str, *, store: KeyStore) -> None:
        self._key = key
        self._store = store

    async def keep_within(self, connection: Connection, *, answer: Answer, conversation_id: UUID) -> None:
        """Store the answer in the caller's transaction."""
        await self._store.keep_within(
            connection, self._key, answer_json=_dumped(answer), conversation_id=conversation_id
        )

    async def guard(self, events: AsyncIterator[Event], *, keep: bool) -> AsyncGenerator[Event, None]:
        """Yield the events, and release the key if they end without an answer.

        `keep`: store the answer before `Done` is yielded; False where the source of the events stores it.
        """
        transcript, answered = Transcript(), False
        try:
            with self._store.at_work(self._key):
                async with aclosing(events) as given:  # type: ignore[type-var]
                    async for event in given:
                        if (answer := transcript.add(event)) is not None:
                            if keep:
                                await self._store.keep(self._key, answer_json=_dumped(answer))
                            answered = True
                        yield event
        finally:
            if not answered:
                await asyncio.wait({asyncio.create_task(self._release())}, timeout=WAITING_SECONDS)

    async def _release(self) -> None:
        try:
            await asyncio.wait_for(self._store.release(self._key), RECORDING_SECONDS)
        except (FootnoteError, TimeoutError) as exc:
            _log.warning("an idempotency key was left to expire", error=type(exc).__name__)


class Idempotency:
    """Lets each key be answered once."""

    def __init__(self, store: KeyStore, *, streams: Streams) -> None:
        self._store = store
        self._streams = streams
        self._background = Background("an idempotency key was left to expire")

    @asynccontextmanager
    async def kept_tidy(self) -> AsyncIterator[None]:
        """Delete expired answers now and then, until the block ends."""
        try:
            async with running_beside(self._tidy()):
                yield
        finally:
            await self._background.close(seconds=WAITING_SECONDS)

    async def join(
        self, given: str, *, fingerprint: str, start: Callable[[Key, str], Run], stream_id: str
    ) -> Run | Answer:
        """Return the run that is answering a key's request, or its stored answer.

        `start` starts a run for the key and `stream_id`, and passes its events through `Key.guard`. If another process
        is answering, this waits for it; the caller bounds how long.

        Raises:
            InvalidIdempotencyKey: the key is too long, or has characters other than printable ASCII.
            IdempotencyKeyReused: the key was used with another request.
            Overloaded: no further answer can be started; the key may be used again.

        """
        require_valid_key(given)
        while True:
            state = await self._taken(given, fingerprint=fingerprint, stream_id=stream_id)
            if state.mine:
                CACHE_LOOKUPS.add(1, MISS)
                try:
                    return start(Key(given, store=self._store), stream_id)
                except Overloaded:
                    await self._store.release(given)
                    raise
            if state.answer_json is not None:
                CACHE_LOOKUPS.add(1, HIT)
                trace.get_current_span().set_attribute("footnote.cache_hit", True)
                return _ANSWER.validate_json(state.answer_json)
            if (run := self._streams.here(state.stream_id)) and not run.is_ending:
                CACHE_LOOKUPS.add(1, HIT)
                return run
            await asyncio.sleep(LOOK_SECONDS)

    async def _taken(self, given: str, *, fingerprint: str, stream_id: str) -> KeyState:
        """Take a key; if this is cancelled while that is committed, the key is released again."""

        async def undo(state: KeyState) -> None:
            if state.mine:
                await self._store.release(given)

        taking = self._store.take(given, fingerprint=fingerprint, stream_id=stream_id)
        return await self._background.undone_if_cancelled(taking, undo=undo)

    async def _tidy(self) -> None:
        while True:
            try:
                await self._store.forget_old()
            except FootnoteError as exc:
                _log.warning("old idempotency keys were not deleted", error=type(exc).__name__)
            await asyncio.sleep(TIDY_SECONDS)


def _dumped(answer: Answer) -> str:
    # passages come from the database, and can be stored; the model's text may hold characters that cannot
    standalone = answer.sources.standalone_question
    sources = replace(answer.sources, standalone_question=storable(standalone) if standalone else standalone)
    return _ANSWER.dump_json(replace(answer, answer=storable(answer.answer), sources=sources)).decode()
