"""LlamaIndex LLMs that stand for each other, as one LlamaIndex `LLM`; it needs no server and no settings.

llm = FallbackLLM([Anthropic(model="claude-sonnet-4-5"), Ollama(model="qwen3:8b")])
"""

# ruff: noqa: FBT001, FBT002 (the signatures are LlamaIndex's)

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, get_args

import structlog
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import LLM

from config.settings import FallbackKind
from server.answers import is_blank
from server.engines.models.breaker import CircuitBreaker
from server.engines.models.errors import ModelError, ModelFailed, ModelFiltered
from server.engines.models.failures import FILTER_REASONS, Hints
from server.engines.models.fallback.policy import USUAL, FallbackPolicy
from server.engines.models.fallback.race import Race
from server.engines.models.plug_in.failures import failure_of
from server.engines.models.plug_in.responses import reason_of

Response = TypeVar("Response", ChatResponse, CompletionResponse)
WRITTEN_BY = "fallback_model"
"""The member of a response's `additional_kwargs` that names the model which wrote it."""
_HINTS = Hints()
_SILENT = {"TextBlock", "ThinkingBlock"}  # a thought is no answer; of a text, its words count
_log = structlog.get_logger(__name__)


class FallbackLLM(LLM):
    """Asks the first of several LLMs, and the next where it fails before its first token.

    What an LLM raises is sorted by its HTTP status or its cause into the kinds of `FOOTNOTE_LLM__FALLBACK_ON`; when the
    last one fails, too, its own error is raised. An answer without a word is a `ModelFailed`. An LLM that failed
    `failures` times in a row is left out for `seconds`. `hedge_after` seconds without a token, the next one is
    asked as well (async methods only).

    Each response's `additional_kwargs["fallback_model"]` names the model that wrote it.
    """

    _llms: list[LLM] = PrivateAttr()
    _names: list[str] = PrivateAttr()
    _policy: FallbackPolicy = PrivateAttr()
    _breakers: list[CircuitBreaker] = PrivateAttr()

    def __init__(
        self,
        llms: Sequence[LLM],
        *,
        on: Collection[FallbackKind] = USUAL,
        hedge_after: float | None = None,
        residencies: Sequence[str | None] | None = None,
        failures: int = 5,
        seconds: float = 10,
        **kwargs: Any,
    ) -> None:
        """Take LLMs in order; `residencies` says where each one's data stays, in words of your own.

        Raises:
            ValueError: there is none, `on` names no kind of failure, they mix chat and completion models, or data would
                leave its residency.

        """
        if unknown := sorted(set(on) - set(get_args(FallbackKind))):
            msg = f"FallbackLLM knows no failure {unknown[0]!r}; there are: {', '.join(get_args(FallbackKind))}"
            raise ValueError(msg)
        if not llms or len({llm.metadata.is_chat_model for llm in llms}) > 1:
            msg = "FallbackLLM needs at least one LLM, and either chat models or completion models"
            raise ValueError(msg)
        if residencies is not None and (len(residencies) != len(llms) or len(set(residencies)) > 1):
            msg = f"the LLMs have the residencies {list(residencies)}; all must have the first one's"
            raise ValueError(msg)
        super().__init__(**kwargs)
        self._llms = list(llms)
        self._names = [llm.metadata.model_name for llm in llms]
        self._policy = FallbackPolicy(on=frozenset(on), hedge_after=hedge_after)
        self._breakers = [CircuitBreaker(name, failures=failures, seconds=seconds) for name in self._names]

    @classmethod
    def class_name(cls) -> str:
        """Return LlamaIndex's name for the class."""
        return "FallbackLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """The first model's properties, with the smallest context window; it calls no functions."""
        told = [llm.metadata for llm in self._llms]
        window = min(each.context_window for each in told)
        return told[0].model_copy(update={"context_window": window, "is_function_calling_model": False})

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a chat, whole."""
        return next(self._first_of(lambda llm: iter((llm.chat(messages, **kwargs),))))

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt, whole."""
        return next(self._first_of(lambda llm: iter((llm.complete(prompt, formatted=formatted, **kwargs),))))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer a chat, piece by piece."""
        return self._first_of(lambda llm: llm.stream_chat(messages, **kwargs))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """Complete a prompt, piece by piece."""
        return self._first_of(lambda llm: llm.stream_complete(prompt, formatted=formatted, **kwargs))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a chat, whole."""
        return await self._whole(lambda llm: llm.achat(messages, **kwargs))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt, whole."""
        return await self._whole(lambda llm: llm.acomplete(prompt, formatted=formatted, **kwargs))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a chat, piece by piece."""
        return self._raced(lambda llm: _streamed(llm.astream_chat(messages, **kwargs)))

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Complete a prompt, piece by piece."""
        return self._raced(lambda llm: _streamed(llm.astream_complete(prompt, formatted=formatted, **kwargs)))

    def _first_of(self, ask: Callable[[LLM], Iterator[Response]]) -> Generator[Response, None, None]:
        """Yield the answer of the first LLM that gives a first piece."""
        error: Exception | None = None
        for number in self._order():
            try:
                with self._counted(number):
                    answer = ask(self._llms[number])
                    begun = self._begun(number, answer)
            except Exception as exc:
                error = exc
                if not self._goes_on(number, exc):
                    raise
                continue
            for response in begun:
                yield self._named(response, number)
            for response in answer:
                yield self._named(response, number)
            return
        assert error is not None  # noqa: S101 (one was asked, and failed)
        raise error

    async def _whole(self, ask: Callable[[LLM], Awaitable[Response]]) -> Response:
        async def once(llm: LLM) -> AsyncGenerator[Response, None]:
            yield await ask(llm)

        answer = self._raced(once)
        try:
            return await anext(answer)
        finally:
            await answer.aclose()

    async def _raced(self, ask: Callable[[LLM], AsyncGenerator[Response, None]]) -> AsyncGenerator[Response, None]:
        async def begun(number: int) -> AsyncGenerator[Response, None]:
            answer = ask(self._llms[number])
            try:
                with self._counted(number):
                    first = await self._abegun(number, answer)
                for response in first:
                    yield response
                async for response in answer:
                    yield response
            finally:
                await answer.aclose()

        starts = ((number, partial(begun, number)) for number in self._order())
        race = Race(starts, hedge_after=self._policy.hedge_after, may_go_on=self._goes_on)
        async with race.won() as (number, first, rest):
            yield self._named(first, number)
            async for response in rest:
                yield self._named(response, number)

    def _begun(self, number: int, answer: Iterator[Response]) -> list[Response]:
        """Read an answer up to its first word; return what was read."""
        read: list[Response] = []
        for response in answer:
            read.append(response)
            if _says_something(response):
                return read
        raise self._nothing(number, read)

    async def _abegun(self, number: int, answer: AsyncGenerator[Response, None]) -> list[Response]:
        read: list[Response] = []
        async for response in answer:
            read.append(response)
            if _says_something(response):
                return read
        raise self._nothing(number, read)

    def _nothing(self, number: int, read: Sequence[Response]) -> ModelError:
        if any((reason_of(response) or "").lower() in FILTER_REASONS for response in read):
            return ModelFiltered(f"the content filter of {self._names[number]} refused the request")
        return ModelFailed(f"{self._names[number]} wrote an empty answer")

    def _order(self) -> list[int]:
        """Return the places of the LLMs to ask: those that were not left out, or all if all were."""
        numbers = range(len(self._llms))
        return [number for number in numbers if self._breakers[number].refusal is None] or list(numbers)

    @contextmanager
    def _counted(self, number: int) -> Iterator[None]:
        """Let the breaker learn how a call begins; where all are open, a call is let through all the same."""
        if self._breakers[number].refusal is not None:
            yield
            return
        error: Exception | None = None
        try:
            with self._breakers[number].guarded():
                try:
                    yield
                except Exception as exc:
                    error = exc
                    if (failure := self._failure(exc, number)) is exc:
                        raise
                    raise failure from exc
        except ModelError:
            if error is None:
                raise
            raise error  # noqa: B904 (its own causes are its own)

    def _failure(self, error: Exception, number: int) -> ModelError:
        return failure_of(error, name=self._names[number], hints=_HINTS)

    def _goes_on(self, number: int, error: Exception) -> bool:
        failure = self._failure(error, number)
        may = self._policy.asks_another(failure)
        _log.warning("a model of a FallbackLLM failed", model=self._names[number], error=type(failure).__name__)
        return may

    def _named(self, response: Response, number: int) -> Response:
        response.additional_kwargs = {**response.additional_kwargs, WRITTEN_BY: self._names[number]}
        return response


async def _streamed(answering: Awaitable[Any]) -> AsyncGenerator[Any, None]:
    async for response in await answering:
        yield response


def _says_something(response: ChatResponse | CompletionResponse) -> bool:
    """Tell whether a response has a word, or anything else than text: a call of a tool, say."""
    if isinstance(response, CompletionResponse):
        return not is_blank(response.text + (response.delta or ""))
    message = response.message
    if message.additional_kwargs.get("tool_calls") or any(
        type(each).__name__ not in _SILENT for each in message.blocks
    ):
        return True
    return not is_blank((message.content or "") + (response.delta or ""))
