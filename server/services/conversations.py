"""Conversations: their messages are answered one at a time, and stored with the outcome."""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING

import structlog
from pydantic import TypeAdapter

from config.errors import FootnoteError, slug_of
from config.settings import ChatSettings
from server.answers import Answer, Citation, Done, Event, Message, Question, Sources, Transcript, Turn, Usage
from server.errors import CollectionIsFixed, ShuttingDown, StreamAbandoned, StreamStopped
from server.waiting.background import Background
from server.waiting.interrupts import why_cancelled
from storage.chat.conversations import LATEST, ConversationCatalog, ConversationInfo, ConversationOrder, StoredMessage
from storage.chat.turns import NOTHING, Memory, NewTurn, OpenTurn, PartialAnswer, PastTurn, TurnAnswer, TurnStore
from storage.cursors import Page
from storage.database import storable
from storage.errors import ConversationNotFound, StoreUnavailable
from storage.reach import is_reachable

if TYPE_CHECKING:
    from server.services.answers import AnswerService
    from server.services.idempotency import Key
    from server.streams.streams import Streams

TRIES = 4
RECORDING_SECONDS = 10.0
WAITING_SECONDS = 1.0
CLOSING_SECONDS = 3.0
_CITATIONS = TypeAdapter(tuple[Citation, ...])
_USAGE = TypeAdapter(Usage)
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A user's message.

    Attributes:
        question: its `collection` is used for a new conversation only.
        conversation_id: None: a new conversation begins.
        collection: the one that the request names, if it names one.
        key: the request's idempotency key; the answer is stored for it in the turn's transaction.

    """

    question: Question
    conversation_id: str | None
    collection: str | None
    request_id: str
    trace_id: str | None = None
    stream_id: str | None = None
    key: Key | None = None


class Conversations:
    """Answers messages within conversations. Every method raises `FootnoteError`s only, apart from defects."""

    def __init__(
        self,
        answers: AnswerService,
        *,
        turns: TurnStore,
        catalog: ConversationCatalog,
        streams: Streams,
        settings: ChatSettings,
    ) -> None:
        self._answers = answers
        self._turns = turns
        self._catalog = catalog
        self._streams = streams
        self._settings = settings
        self._background = Background("a turn was not recorded")

    async def stream(self, message: ChatMessage, /) -> AsyncGenerator[Event, None]:
        """Answer a message piece by piece, as `AnswerService.stream` does; the turn is stored before `Done` is yielded.

        If the generator is closed or fails, the turn is stored as abandoned or failed, and later turns do not read it.
        """
        from server.services.observation import count_unbegun, timed_stage  # imports LlamaIndex, which is slow

        started = time.perf_counter()
        try:
            with timed_stage("open"):
                message = replace(message, question=await self._answers.admitted(message.question))
                turn = await self._opened(message)
        except FootnoteError as exc:
            count_unbegun("chat", message.question, exc, seconds=time.perf_counter() - started)
            raise
        turn_is_open, transcript = True, Transcript()
        try:
            async with AsyncExitStack() as stack:
                stack.enter_context(self._turns.at_work(turn))
                events = await stack.enter_async_context(aclosing(self._answers.chat(await self._turn(message, turn))))
                async for event in events:
                    named = _named(event, turn)
                    if (answer := transcript.add(named)) is not None:
                        with timed_stage("keep"):
                            await self._keep(message, turn, answer)
                        turn_is_open = False
                    yield named
        except BaseException as exc:
            if turn_is_open:
                await self._break_off(turn, exc, transcript)
            raise

    async def list(
        self, *, limit: int, cursor: str | None, contains: str | None = None, order: ConversationOrder = LATEST
    ) -> Page[ConversationInfo]:
        """List conversations, see the catalog; a page has fewer than `limit` where some are out of reach."""
        found = await self._catalog.list(limit=limit, cursor=cursor, contains=contains, order=order)
        return replace(found, items=tuple(each for each in found.items if is_reachable(each.collection)))

    async def get(self, conversation_id: str, /) -> ConversationInfo:
        """Describe a conversation.

        Raises:
            ConversationNotFound: there is none, or it is about a collection out of reach.

        """
        found = await self._catalog.get(conversation_id)
        if not is_reachable(found.collection):
            raise ConversationNotFound(conversation_id)
        return found

    async def messages(self, conversation_id: str, /, *, limit: int, cursor: str | None) -> Page[StoredMessage]:
        """List a conversation's messages, oldest first; a question and its answer are on the same page."""
        return await self._catalog.messages(conversation_id, turns=max(1, limit // 2), cursor=cursor)

    async def rename(self, conversation_id: str, /, *, title: str) -> ConversationInfo:
        """Give a conversation another title."""
        await self.get(conversation_id)
        await self._catalog.rename(conversation_id, title=title)
        return await self._catalog.get(conversation_id)

    async def delete(self, conversation_id: str, /) -> None:
        """Delete a conversation, with its resumable streams and the answers stored for idempotency keys."""
        await self.get(conversation_id)
        await self._streams.forget(await self._catalog.delete(conversation_id))

    async def close(self) -> None:
        """Wait for background work for `CLOSING_SECONDS`, then cancel it."""
        await self._background.close(seconds=CLOSING_SECONDS)

    async def _opened(self, message: ChatMessage) -> OpenTurn:
        """Begin a turn; if this is cancelled while that is committed, the turn is recorded as abandoned."""

        async def undo(turn: OpenTurn) -> None:
            problem = StreamAbandoned.slug
            await self._turns.break_off(turn, state="abandoned", problem=problem)

        return await self._background.undone_if_cancelled(self._open(message), undo=undo)

    async def _open(self, message: ChatMessage) -> OpenTurn:
        asked = NewTurn(
            message.question.question,
            tokens=self._answers.counter.count(message.question.question),
            request_id=message.request_id,
            stream_id=message.stream_id,
            trace_id=message.trace_id,
        )
        if message.conversation_id is None:
            await self._answers.require_collection(message.question.collection)
            return await self._turns.begin(asked, collection=message.question.collection)
        turn = await self._turns.proceed(message.conversation_id, asked)
        if not is_reachable(turn.collection):
            await self._turns.withdraw(turn)
            raise ConversationNotFound(message.conversation_id)
        if message.collection not in {None, turn.collection}:
            await self._turns.withdraw(turn)
            raise CollectionIsFixed(turn.collection)
        return turn

    async def _turn(self, message: ChatMessage, turn: OpenTurn) -> Turn:
        memory = await self._turns.memory(turn, max_tokens=self._settings.history_tokens)
        return Turn(
            replace(message.question, collection=turn.collection),
            history=_history(memory),
            summary=memory.summary,
            conversation_id=str(turn.conversation_id),
            is_guarded=True,
        )

    async def _keep(self, message: ChatMessage, turn: OpenTurn, answer: Answer) -> None:
        kept = self._kept(answer)
        within = None
        if message.key is not None:
            within = partial(message.key.keep_within, answer=answer, conversation_id=turn.conversation_id)
        for attempt in range(1, TRIES + 1):
            try:
                await self._turns.complete(turn, kept, within=within)
                break
            except StoreUnavailable:
                if attempt == TRIES:
                    raise
                await asyncio.sleep(0.25 * 2**attempt)
        if self._settings.summary:
            self._background.start(self._summarize(turn))

    def _kept(self, answer: Answer) -> TurnAnswer:
        done, text = answer.done, storable(answer.answer)
        return TurnAnswer(
            answer=text,
            answer_tokens=self._answers.counter.count(text),
            standalone_question=storable(answer.sources.standalone_question or "") or None,
            citations_json=_CITATIONS.dump_json(done.citations).decode(),
            finish_reason=done.finish_reason,
            model=done.model,
            usage_json=_USAGE.dump_json(done.usage).decode() if done.usage else None,
            cost_usd=done.cost_usd,
            timings_json=json.dumps(dict(done.timings_ms)),
            generation=answer.sources.generation,
        )

    async def _break_off(self, turn: OpenTurn, error: BaseException, transcript: Transcript) -> None:
        """Store a turn's failure, in a task of its own, since the current one may be cancelled.

        Wait for it for `WAITING_SECONDS` at most: the client's last event comes afterwards.
        """
        recording = self._background.start(
            asyncio.wait_for(self._recording(turn, error, why_cancelled(), transcript), RECORDING_SECONDS)
        )
        await asyncio.wait({recording}, timeout=WAITING_SECONDS)

    async def _recording(
        self, turn: OpenTurn, error: BaseException, cause: Exception | None, transcript: Transcript
    ) -> None:
        if getattr(error, "field", None):  # the request itself is invalid: it leaves no turn
            await self._turns.withdraw(turn)
            return
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            error = cause if isinstance(cause, FootnoteError) else StreamAbandoned()
        await self._turns.break_off(
            turn,
            state="abandoned" if isinstance(error, StreamAbandoned | StreamStopped | ShuttingDown) else "failed",
            problem=slug_of(error),
            partial=self._partial(transcript),
        )

    def _partial(self, transcript: Transcript) -> PartialAnswer:
        if transcript.sources is None:
            return NOTHING
        text = storable(transcript.text)
        return PartialAnswer(
            answer=text,
            answer_tokens=self._answers.counter.count(text),
            citations_json=_CITATIONS.dump_json(transcript.citations).decode(),
            standalone_question=storable(transcript.sources.standalone_question or "") or None,
            generation=transcript.sources.generation,
        )

    async def _summarize(self, turn: OpenTurn) -> None:
        forgotten = await self._turns.forgotten(turn, max_tokens=self._settings.history_tokens)
        forgotten = replace(forgotten, turns=_first_of(forgotten.turns, self._answers.notes_tokens))
        if not forgotten.turns:
            return
        summary = await self._answers.summarize(_history(forgotten), summary=forgotten.summary)
        if summary:
            await self._turns.summarize(turn, summary=storable(summary), through=forgotten.turns[-1].number)


def _named(event: Event, turn: OpenTurn) -> Event:
    """Return an event with the ids of its conversation and of the answer, where it has such members."""
    if isinstance(event, Sources):
        return replace(event, conversation_id=str(turn.conversation_id))
    if isinstance(event, Done):
        return replace(event, conversation_id=str(turn.conversation_id), message_id=str(turn.answer_id))
    return event


def _history(memory: Memory) -> tuple[Message, ...]:
    return tuple(
        message
        for turn in memory.turns
        for message in (
            Message("user", turn.question, turn.question_tokens),
            Message("assistant", turn.answer, turn.answer_tokens),
        )
    )


def _first_of(turns: Sequence[PastTurn], max_tokens: int) -> tuple[PastTurn, ...]:
    """Return the first turns that together have at most `max_tokens` tokens, but at least one turn."""
    tokens = list(accumulate(turn.question_tokens + turn.answer_tokens for turn in turns))
    return tuple(turns[: max(1, bisect_right(tokens, max_tokens))])
