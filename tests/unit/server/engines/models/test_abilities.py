"""Which async methods of a LlamaIndex class wait without blocking the event loop."""

# ruff: noqa: ARG002 (the signatures are LlamaIndex's)

import asyncio
from typing import Any

import pytest
from llama_index.core.llms import CustomLLM, MockLLM
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike

from server.engines.models.plug_in.abilities import has_async, is_there

ASYNC = ("achat", "astream_chat", "acomplete", "astream_complete")


class Mixed(CustomLLM):
    """As users write them: some async methods wait, some only seem to."""

    async def achat(self, messages: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("no async chat")  # noqa: EM101

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        await asyncio.sleep(0)

    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        return await self.astream_complete("x")  # which is LlamaIndex's synchronous one

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        if formatted:
            raise NotImplementedError
        return iter(())

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


@pytest.mark.parametrize("kind", [OpenAI, OpenAILike, Ollama])
def test_integrations_with_async_clients_are_async(kind: type) -> None:
    assert all(has_async(kind, name) for name in ASYNC)


@pytest.mark.parametrize("kind", [CustomLLM, MockLLM])
def test_llamaindex_s_defaults_are_not(kind: type) -> None:
    assert not any(has_async(kind, name) for name in ASYNC)


def test_each_method_is_looked_at_by_itself_and_through_what_it_calls() -> None:
    assert [has_async(Mixed, name) for name in ASYNC] == [False, False, True, False]
    assert not has_async(Mixed, "no_such_method")


def test_a_method_that_only_refuses_is_not_there() -> None:
    assert [is_there(Mixed, name) for name in ("stream_chat", "stream_complete", "chat", "none")] == [
        False,
        True,
        True,
        False,
    ]
