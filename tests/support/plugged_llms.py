"""LlamaIndex LLMs of a user's own, for the tests: well written, slow, stubborn and broken ones.

What happens in them is kept in `CALLS`; a test empties it.
"""

# ruff: noqa: ARG002 (the signatures are LlamaIndex's)

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
)
from llama_index.core.llms import CustomLLM

ANSWER = "Rain falls mainly on the plain [1]. It stops in spring [2]."
CALLS: list[dict[str, Any]] = []
STUBBORN = threading.Event()
"""Until it is set, `StubbornLLM` does not come back."""


class SleepyLLM(CustomLLM):
    """Synchronous, as the least code makes one: it waits, and streams word by word."""

    pause: float = 0.0
    temperature: float = 0.7
    max_tokens: int = 99
    api_key: str = ""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=5000, model_name="sleepy", is_chat_model=True)

    def _noted(self, prompt: str) -> None:
        thread = threading.current_thread()
        CALLS.append(
            {"prompt": prompt, "temperature": self.temperature, "max_tokens": self.max_tokens, "thread": thread.name}
        )
        time.sleep(self.pause)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self._noted(prompt)
        return CompletionResponse(text=ANSWER)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Iterator[CompletionResponse]:
        def gen() -> Iterator[CompletionResponse]:
            self._noted(prompt)
            text = ""
            try:
                for word in ANSWER.split(" "):
                    piece = f" {word}" if text else word
                    text += piece
                    yield CompletionResponse(text=text, delta=piece)
            finally:
                CALLS.append({"closed": text})

        return gen()


class StubbornLLM(SleepyLLM):
    """Does not come back until it is let go."""

    def _noted(self, prompt: str) -> None:
        STUBBORN.wait(60)


class WholeLLM(SleepyLLM):
    """Does not stream, and says so as LlamaIndex's integrations do."""

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Iterator[CompletionResponse]:
        raise NotImplementedError

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class SilentLLM(SleepyLLM):
    """Answers without a word, and in a stream without a piece."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=5000, model_name="silent", is_chat_model=True)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="")

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Iterator[CompletionResponse]:
        return iter(())


class LeakyLLM(SleepyLLM):
    """Fails, and quotes its prompt and its key."""

    error: str = "RuntimeError"

    def _noted(self, prompt: str) -> None:
        kind = {"RuntimeError": RuntimeError, "SystemExit": SystemExit, "StopIteration": StopIteration}[self.error]
        msg = f"cannot answer {prompt} with {self.api_key}"
        raise kind(msg)


class TellingLLM(SleepyLLM):
    """Async in earnest; tells tokens, a reason and reasoning, as the integrations do."""

    reason: str = "end_turn"

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=9000, model_name="telling", is_chat_model=True)

    async def achat(self, messages: list[ChatMessage], **kwargs: Any) -> ChatResponse:
        await asyncio.sleep(0)
        return self._response(ANSWER, "", self.reason)

    async def astream_chat(self, messages: list[ChatMessage], **kwargs: Any) -> AsyncGenerator[ChatResponse, None]:
        async def gen() -> AsyncGenerator[ChatResponse, None]:
            text = ""
            for word in ANSWER.split(" "):
                await asyncio.sleep(0)
                piece = f" {word}" if text else word
                text += piece
                yield self._response(text, piece, None)
            yield self._response(text, "", self.reason)

        return gen()

    def _response(self, text: str, delta: str, reason: str | None) -> ChatResponse:
        CALLS.append({"thread": threading.current_thread().name})
        message = ChatMessage(role="assistant", content=text)
        raw = {"usage": {"input_tokens": 7, "output_tokens": 3}, "stop_reason": reason, "model": "telling-1"}
        return ChatResponse(message=message, delta=delta, raw=raw)
