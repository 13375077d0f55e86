"""Our model behind LlamaIndex's `LLM`, with the same retries, deadlines and errors."""

# ruff: noqa: ARG002, FBT001, FBT002 (the signatures are LlamaIndex's)

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NoReturn

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import LLM

from server.engines.models.events import Delta, Finish, Reasoning, Retraction
from server.engines.models.model import LanguageModel
from server.tool_calls import CallPiece


class GuardedLLM(LLM):
    """A `LanguageModel` as LlamaIndex's `LLM`.

    Async methods only: the connections belong to the server's event loop. ``temperature``, ``max_tokens`` and ``stop``
    may be given with each call, or for all of them as `options`; `on_finish` hears how each call ended.
    """

    _model: LanguageModel = PrivateAttr()
    _options: dict[str, Any] = PrivateAttr()
    _on_finish: Callable[[Finish], None] | None = PrivateAttr()

    def __init__(
        self,
        model: LanguageModel,
        *,
        options: dict[str, Any] | None = None,
        on_finish: Callable[[Finish], None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._model = model
        self._options = options or {}
        self._on_finish = on_finish

    @classmethod
    def class_name(cls) -> str:
        """Return LlamaIndex's name for the class."""
        return "GuardedLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """The model's properties, for LlamaIndex."""
        return LLMMetadata(
            context_window=self._model.context_window,
            num_output=self._model.max_tokens,
            is_chat_model=self._model.is_chat,
            is_function_calling_model=False,
            model_name=self._model.name,
        )

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a chat, whole."""
        return _chat(*await self._whole(self._fitting(messages), kwargs))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Complete a prompt, whole."""
        return _completion(*await self._whole(self._single(prompt, formatted=formatted), kwargs))

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """Answer a chat, piece by piece."""

        async def pieces() -> AsyncGenerator[ChatResponse, None]:
            async with contextlib.aclosing(self._grown(self._fitting(messages), kwargs)) as grown:
                async for text, delta, finish in grown:
                    yield _chat(text, finish, delta=delta)

        return pieces()

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """Complete a prompt, piece by piece."""

        async def pieces() -> AsyncGenerator[CompletionResponse, None]:
            async with contextlib.aclosing(self._grown(self._single(prompt, formatted=formatted), kwargs)) as grown:
                async for text, delta, finish in grown:
                    yield _completion(text, finish, delta=delta)

        return pieces()

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> NoReturn:
        """Refuse: see the class."""
        _refuse_sync("achat")

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> NoReturn:
        """Refuse: see the class."""
        _refuse_sync("acomplete")

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> NoReturn:
        """Refuse: see the class."""
        _refuse_sync("astream_chat")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> NoReturn:
        """Refuse: see the class."""
        _refuse_sync("astream_complete")

    def _fitting(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        """Turn a chat into one prompt for a base model."""
        if self._model.is_chat:
            return messages
        assert self.messages_to_prompt is not None  # noqa: S101 (LLM's validator sets it)
        return self._single(self.messages_to_prompt(messages), formatted=True)

    def _single(self, prompt: str, *, formatted: bool) -> Sequence[ChatMessage]:
        assert self.completion_to_prompt is not None  # noqa: S101 (LLM's validator sets it)
        text = prompt if formatted else self.completion_to_prompt(prompt)
        if not self._model.is_chat:
            # LlamaIndex's prompts end in "Answer: "; tokens begin with their space, so base models derail after one
            text = text.rstrip(" ")
        return [ChatMessage(role=MessageRole.USER, content=text)]

    async def _grown(
        self, messages: Sequence[ChatMessage], options: dict[str, Any]
    ) -> AsyncGenerator[tuple[str, str, Finish | None], None]:
        """Yield (text so far, new text, `Finish` at the end)."""
        text = ""
        async with contextlib.aclosing(self._model.stream(messages, **{**self._options, **options})) as events:
            async for event in events:
                if isinstance(event, Reasoning | CallPiece):
                    continue
                if isinstance(event, Retraction):
                    text = ""
                    continue
                delta, finish = (event.text, None) if isinstance(event, Delta) else ("", event)
                if finish is not None and self._on_finish is not None:
                    self._on_finish(finish)
                text += delta
                yield text, delta, finish

    async def _whole(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> tuple[str, Finish | None]:
        end: tuple[str, Finish | None] = "", None
        async with contextlib.aclosing(self._grown(messages, options)) as grown:
            async for text, _, finish in grown:
                end = text, finish
        return end


def _news(finish: Finish | None) -> dict[str, Any]:
    """Return token counts under the names that LlamaIndex's token counters look for."""
    if finish is None:
        return {}
    counts = finish.usage
    return {"finish_reason": finish.finish_reason} | (
        {
            "prompt_tokens": counts.prompt_tokens,
            "completion_tokens": counts.completion_tokens,
            "total_tokens": counts.total_tokens,
        }
        if counts
        else {}
    )


def _chat(text: str, finish: Finish | None, *, delta: str | None = None) -> ChatResponse:
    message = ChatMessage(role=MessageRole.ASSISTANT, content=text)
    return ChatResponse(message=message, delta=delta, additional_kwargs=_news(finish))


def _completion(text: str, finish: Finish | None, *, delta: str | None = None) -> CompletionResponse:
    return CompletionResponse(text=text, delta=delta, additional_kwargs=_news(finish))


def _refuse_sync(instead: str) -> NoReturn:
    msg = f"Footnote's model works on the server's event loop: use `{instead}`"
    raise NotImplementedError(msg)
