"""The language model that engines call: retries before the first token, deadlines, exactly one finish.

A `Provider` calls one server once, through a LlamaIndex client. `LanguageModel` is what the rest of Footnote uses. It
adds what those clients lack: one retry policy, deadlines, and an explicit end, so that a truncated answer never counts
as a complete one. LlamaIndex engines get a `GuardedLLM` around it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import stamina
import structlog
from stamina.instrumentation import set_on_retry_hooks

from config.telemetry.metrics import expect_calls
from server.answers import Usage, is_blank
from server.engines.models.breaker import CircuitBreaker
from server.engines.models.calls import AnswerCalls
from server.engines.models.errors import (
    ModelBusy,
    ModelError,
    ModelFailed,
    ModelFiltered,
    ModelRefused,
    ModelTimeout,
    ModelTooLong,
)
from server.engines.models.events import Delta, Finish, ModelEvent, Reasoning, Retraction
from server.engines.models.failures import FILTER_REASONS
from server.engines.models.limits import Limits
from server.engines.models.metering import Metered, Purse, Tariff
from server.engines.models.observation import ModelCall, retried
from server.engines.models.prices import cost_of
from server.engines.models.provider import Chunk, Provider, Request
from server.engines.models.reasoning import ReasoningFilter
from server.engines.models.retries import MAX_WAIT, Again
from server.tool_calls import Tools
from server.waiting.patience import Patience

if TYPE_CHECKING:
    from llama_index.core.llms import ChatMessage


AFTER_FINISH = 1.0
"""Seconds to wait for a provider's token counts once the answer is complete."""

QUOTE = 16
"""Length of a common substring with the prompt from which on a provider's message counts as a quotation."""

UNOPENED = 3
"""Answers in a row that close reasoning without having opened it, after which text is held back until it is closed."""

READY_FOR = 5.0
"""Seconds that the result of a health check is reused."""

DOUBT_SECONDS = 60.0
"""For so long a failed answer is told of: another process may have been answered since, which nobody hears of here."""

_LENGTH = {"length", "max_tokens", "max_output_tokens"}
_STOPPED = {"stop", "end_turn", "eos"}
_BROKEN = {
    "error",
    "tool_calls",
    "tool_use",
    "function_call",
    "malformed_function_call",
    "insufficient_system_resource",
    "unload",
}

_log = structlog.get_logger(__name__)
set_on_retry_hooks(())  # a retry is logged in `retried`


class LanguageModel:
    """The model that writes the answers: one per process, used from one event loop, closed at the end.

    Attributes:
        provider: ``openai``, ``openai_like``, ``ollama`` or ``local``.
        name: the model's name.
        is_chat: False for a base model: give `stream` one user message that holds a prompt to complete.
        context_window: tokens read and written in all.
        label: its name among several models, which metrics tell it by.
        description: one line for the log: which model, why, how to change it.
        breaker: refuses calls while the provider is down.
        purse: what calls are paid from; None: nobody counts them.

    """

    purse: Purse[Any] | None = None

    def __init__(self, source: Provider, *, limits: Limits, context_window: int, description: str) -> None:
        self._source = source
        self._limits = limits
        self._looked_at = -READY_FOR
        self._reason: str | None = None
        self._failing: str | None = None  # why the last answer failed
        self._failed_at = -math.inf
        self._unopened = 0  # answers in a row that closed a block of reasoning that they had not opened
        self._looking = asyncio.Lock()
        self.call_it(source.name)
        expect_calls(source.name)
        self.context_window = context_window
        self.description = description

    @property
    def provider(self) -> str:
        """Name of the provider."""
        return self._source.name

    @property
    def name(self) -> str:
        """Name of the model."""
        return self._source.model

    @property
    def is_chat(self) -> bool:
        """Whether it is a chat model."""
        return self._source.is_chat

    @property
    def total_timeout(self) -> float:
        """Maximum duration of an answer in seconds."""
        return self._limits.total_timeout

    def call_it(self, label: str) -> None:
        """Tell it by another name in metrics, before it is first called."""
        limits = self._limits
        self.label = label
        self.breaker = CircuitBreaker(label, failures=limits.breaker_failures, seconds=limits.breaker_seconds)

    @property
    def members(self) -> Sequence[LanguageModel]:
        """The models that it is made of."""
        return (self,)

    def why_no_tools(self, tools: Tools, /) -> str:
        """Return why these tools cannot be offered to it, in words that follow "the tools"; empty if they can."""
        return self._source.why_no_tools(tools)

    @property
    def refusal(self) -> str | None:
        """Why its circuit breaker would refuse a call now, or None."""
        return self.breaker.refusal

    @property
    def resting(self) -> str:
        """Which of its models are not asked at the moment, and why; empty where none is left out, or all are."""
        return ""

    @property
    def doubt(self) -> str | None:
        """Why its answers may fail though it seems ready; None: no reason is known."""
        is_recent = time.monotonic() - self._failed_at < DOUBT_SECONDS
        return self._source.doubt or (
            f"its last answer failed: {self._failing}" if self._failing and is_recent else None
        )

    def price_of(self, usage: Usage) -> float:
        """Return US dollars; 0 where the price table does not have the model."""
        return Tariff(self.name, self._limits.prices).cost(usage) or 0.0

    def pay_from(self, purse: Purse[Any]) -> None:
        """Let calls be paid from there."""
        self.purse = purse

    @property
    def is_priced(self) -> bool:
        """Whether the price table has the model."""
        return Tariff(self.name, self._limits.prices).cost(Usage(0, 0, 0)) is not None

    @property
    def max_tokens(self) -> int:
        """Maximum length of an answer in tokens, if the request sets none."""
        return self._limits.max_tokens

    async def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        schema: Mapping[str, object] | None = None,
        whole: bool = False,
        tools: Tools | None = None,
        deadline: float | None = None,
        longest_wait: float = MAX_WAIT,
    ) -> AsyncGenerator[ModelEvent, None]:
        """Yield the answer's pieces, then one `Finish`. Close it (`contextlib.aclosing`) to cancel the call.

        `schema` is a JSON schema for the answer; a server that knows no such thing answers freely. `whole` asks the
        server for the answer in one piece, unless the settings have it stream always: that saves both sides an event a
        token. Silence is no sign of a failure then, so that the timeout of the whole answer holds alone. `deadline`, in
        the event loop's time, may be sooner than that timeout. A provider that asks for a longer pause than
        `longest_wait` seconds is not asked again.

        Reasoning is no part of the pieces; it is yielded where the settings show it. `tools` are what the model may
        call, if `why_no_tools` has nothing to say against them: pieces of its calls come as `CallPiece`s.

        Raises:
            ModelUnavailable, ModelRateLimited, ModelFailed, ModelRejected, ModelTimeout: before or after pieces.
            BudgetExhausted: whoever asks has spent the budget; the model is not called.

        """
        limits = self._limits
        request = Request(
            messages=tuple(messages),
            temperature=limits.temperature if temperature is None else temperature,
            max_tokens=limits.max_tokens if max_tokens is None else max_tokens,
            stop=tuple(stop),
            schema=schema,
            whole=whole and not limits.always_streams,
            tools=tools,
        )
        call = ModelCall(request, provider=self.provider, model=self.name, is_chat=self.is_chat)
        try:
            async with contextlib.aclosing(call.observed(self._paid(request, deadline, longest_wait))) as events:
                async for event in events:
                    if isinstance(event, Finish):
                        self._answered()
                    if self._limits.shows_reasoning or not isinstance(event, Reasoning):
                        yield event
        except ModelRefused:
            raise
        except ModelError as error:
            if not isinstance(error, ModelFiltered | ModelTooLong | ModelBusy):  # which are about one question
                self._failing, self._failed_at = str(error), time.monotonic()
            self._looked_at = -READY_FOR  # whoever asks whether it is ready hears what is so now
            _log.warning(
                "model_call_failed",
                provider=self.provider,
                model=self.name,
                error=type(error).__name__,
                reason=str(error),
                detail=_without_prompt(error.detail, request),
            )
            error.was_logged = True
            raise

    async def reply(
        self, messages: Sequence[ChatMessage], *, max_tokens: int, on_finish: Callable[[Finish], None] | None = None
    ) -> str:
        """Return the complete reply to something other than a question, at temperature 0; raises as `stream` does."""
        pieces: list[str] = []
        async with contextlib.aclosing(self.stream(messages, temperature=0.0, max_tokens=max_tokens)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    pieces.append(event.text)
                elif isinstance(event, Retraction):
                    pieces.clear()
                elif isinstance(event, Finish) and on_finish is not None:
                    on_finish(event)
        text = "".join(pieces).strip()
        return "" if is_blank(text) else text

    async def ready(self) -> bool:
        """Tell whether the model could answer now; checked every `READY_FOR` seconds at most."""
        return await self.unready_reason() is None

    async def unready_reason(self) -> str | None:
        """Return why the model cannot answer now, or None; cached like `ready`."""
        async with self._looking:
            if time.monotonic() - self._looked_at >= READY_FOR:
                self._reason = await self._source.probe()
                # a model that is not ready yet is checked again soon
                self._looked_at = time.monotonic() - (READY_FOR - 0.5 if self._reason else 0)
            return self._reason

    async def close(self) -> None:
        """Close connections and end processes; call it once, when no request runs."""
        await self._source.close()

    def _answered(self) -> None:
        if self._failing:
            _log.info("the model answers again", provider=self.provider, model=self.name, shown=True)
        self._failing = None

    def _paid(self, request: Request, deadline: float | None, longest_wait: float) -> AsyncGenerator[ModelEvent, None]:
        events = self._events(request, deadline, longest_wait)
        if self.purse is None:
            return events
        tariff = Tariff(self.name, self._limits.prices)
        return Metered(self.purse, request, tariff=tariff).events(events)

    async def _events(
        self, request: Request, until: float | None, longest_wait: float
    ) -> AsyncGenerator[ModelEvent, None]:
        deadline, patience = min(_now() + self._limits.total_timeout, until or math.inf), Patience()
        silence = self._silence(request)
        parts = ReasoningFilter(holds_back=self._unopened >= UNOPENED)
        with self.breaker.guarded():
            again = Again(self._limits.backoff, deadline=deadline, longest=longest_wait)
            chunks, first = await self._first(request, deadline, again)
        try:
            chunk: Chunk | None = first
            model = None
            calls = AnswerCalls(request)
            while chunk and not chunk.finish_reason:
                model = chunk.model or model
                for event in (*_parts_of(chunk, parts), *calls.of(chunk)):
                    yield event
                chunk = await self._next(chunks, deadline, patience, silence=silence)
            if chunk is None:
                msg = "the model's answer ended before it was complete"
                raise ModelFailed(msg)
            for event in (*_parts_of(chunk, parts), *calls.of(chunk)):
                yield event
            reason = _finish_reason(chunk.finish_reason or "", has_called=calls.has_any)
            for event in parts.end():
                yield event
            self._unopened = self._unopened + 1 if parts.is_unopened else 0
            usage = await self._usage(chunks, chunk, deadline)
        finally:
            patience.close()
            await chunks.aclose()
        name = chunk.model or model or self.name
        yield Finish(reason, usage, name, cost_of(usage, prices=self._limits.prices, models=(name, self.name)))

    async def _first(
        self, request: Request, deadline: float, again: Again
    ) -> tuple[AsyncGenerator[Chunk, None], Chunk]:
        """Call the provider, with retries, until there is text or the end."""
        tries, reason = self._limits.max_retries + 1, ""
        async for attempt in stamina.retry_context(
            on=lambda error: self.breaker.state == "closed" and again(error), attempts=tries, timeout=None
        ):
            with attempt:
                if attempt.num > 1:
                    retried(attempt.num - 1, provider=self.provider, model=self.name, reason=reason)
                chunks = self._source.chunks(request)
                try:
                    first = await self._first_of(chunks, deadline, silence=self._silence(request))
                    if attempt.num < tries:
                        _check_not_empty(first, request)
                except BaseException as error:
                    await chunks.aclose()
                    if isinstance(error, ModelError):
                        error.tries, reason = attempt.num, str(error)
                    raise
                return chunks, first
        raise AssertionError  # stamina returns or raises

    async def _first_of(self, chunks: AsyncGenerator[Chunk, None], deadline: float, *, silence: float) -> Chunk:
        blank = ""
        with contextlib.closing(Patience()) as patience:
            while chunk := await self._next(chunks, deadline, patience, silence=silence):
                text = blank + chunk.text
                begins = chunk.finish_reason or chunk.calls or (chunk.reasoning and self._limits.shows_reasoning)
                if begins or not is_blank(text):
                    return replace(chunk, text=text)
                blank = text
        msg = "the model's server sent an empty reply"
        raise ModelFailed(msg, retryable=False)

    def _silence(self, request: Request) -> float:
        """Return how long the provider may be silent, in seconds; it is until a whole answer is written."""
        return math.inf if request.whole else self._limits.token_timeout

    async def _next(
        self, chunks: AsyncGenerator[Chunk, None], deadline: float, patience: Patience, *, silence: float
    ) -> Chunk | None:
        token_deadline = _now() + silence
        try:
            with patience.until(min(token_deadline, deadline)):
                return await anext(chunks)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            if deadline <= token_deadline:
                msg = f"the model's answer took longer than {self._limits.total_timeout:g} seconds"
            else:
                msg = f"the model was silent for {self._limits.token_timeout:g} seconds"
            raise ModelTimeout(msg) from None

    async def _usage(self, chunks: AsyncGenerator[Chunk, None], last: Chunk, deadline: float) -> Usage | None:
        """Read what follows the end of the answer; if that fails, the answer is complete all the same."""
        usage = last.usage
        try:
            async with asyncio.timeout_at(min(_now() + AFTER_FINISH, deadline)):
                async for chunk in chunks:
                    usage = chunk.usage or usage
        except (TimeoutError, ModelError) as error:
            _log.debug("model_usage_missing", provider=self.provider, error=type(error).__name__)
        return usage


def _check_not_empty(first: Chunk, request: Request) -> None:
    """Check that an answer has a word, or none for a reason that holds the next time too.

    Raises:
        ModelFailed: it may have one the next time.

    """
    is_stopped = (first.finish_reason or "").lower() in _STOPPED and not request.stop
    if is_stopped and is_blank(first.text) and not first.reasoning and not first.calls:
        msg = "the model wrote an empty answer"
        raise ModelFailed(msg)


def _parts_of(chunk: Chunk, parts: ReasoningFilter) -> list[Delta | Reasoning | Retraction]:
    thought = [Reasoning(chunk.reasoning)] if chunk.reasoning else []
    return [*thought, *parts.feed(chunk.text)]


def _finish_reason(reason: str, *, has_called: bool) -> Literal["stop", "length", "tool_calls"]:
    """Translate a finish reason; names differ between compatible servers, and an unknown one counts as ``stop``."""
    name = reason.lower()
    if name in FILTER_REASONS:
        msg = "the provider's content filter stopped the answer"
        raise ModelFiltered(msg)
    if has_called and name not in _LENGTH:
        return "tool_calls"
    if name in _BROKEN:
        msg = "the model stopped without finishing its answer"
        raise ModelFailed(msg, detail=reason)
    return "length" if name in _LENGTH else "stop"


def _without_prompt(detail: str, request: Request) -> str:
    """Return what a provider said, for the log, unless it quotes the prompt."""
    for message in request.messages:
        asked = " ".join((message.content or "").split())
        pieces = {detail[start : start + QUOTE] for start in range(max(1, len(detail) - QUOTE + 1))}
        if asked and detail and (asked in detail or any(piece in asked for piece in pieces)):
            return "(left out: it quotes the prompt)"
    return detail


def _now() -> float:
    return asyncio.get_running_loop().time()
