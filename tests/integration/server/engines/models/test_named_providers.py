"""Providers by name, each through its LlamaIndex class and SDK, over a server that speaks its protocol."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from support.model_calls import ASKED, KEY, ask, fails
from support.model_server import ANSWER, PROMPT_TOKENS, ModelServer, Reply, start_model_server

from config.settings import LLMSettings, Settings, SettingsError
from server.answers import Usage
from server.engines.models.choose import open_model
from server.engines.models.errors import (
    ModelError,
    ModelFailed,
    ModelFiltered,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelTooLong,
    ModelUnavailable,
)
from server.engines.models.model import LanguageModel

NAMES = ("anthropic", "azure", "vllm")
PACKAGES = {"anthropic": "llama_index.llms.anthropic", "azure": "llama_index.llms.azure_openai"}


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with start_model_server() as server:
        yield server


@contextlib.asynccontextmanager
async def opened(server: ModelServer, name: str, **llm: Any) -> AsyncIterator[LanguageModel]:
    if package := PACKAGES.get(name):
        pytest.importorskip(package, reason=f"pip install {package.replace('.', '-').replace('_', '-')}")
    url = server.openai_url if name == "vllm" else server.ollama_url  # the address without /v1
    model_name = {"anthropic": "claude-sonnet-4-5", "azure": "my-deployment", "vllm": "scripted"}[name]
    given = {"provider": name, "model": model_name, "api_key": KEY, "base_url": url, "max_retries": 0, **llm}
    model = await open_model(Settings(llm=LLMSettings(**given)))
    assert model is not None
    try:
        yield model
    finally:
        await model.close()


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("name", NAMES)
async def test_an_answer_with_tokens_and_its_end(name: str, whole: bool, server: ModelServer) -> None:
    server.script(Reply(finish_reason="length"))
    async with opened(server, name) as model:
        text, finish = await ask(model, whole=whole, temperature=0.5, max_tokens=33)
        assert model.provider == name
    words = len(ANSWER.split(" "))
    assert (text, finish.finish_reason) == (ANSWER, "length")
    body = server.requests[0].body
    assert body["temperature"] == 0.5
    assert 33 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert finish.usage is not None
    if name != "azure" or whole:  # Azure's class asks for no count of a stream
        assert finish.usage == Usage(PROMPT_TOKENS, words, PROMPT_TOKENS + words)
    else:
        assert finish.usage.is_estimate


FAULTS: list[tuple[Reply, type[ModelError]]] = [
    (Reply(fault="rate-limited", retry_after="7"), ModelRateLimited),
    (Reply(fault="server-error"), ModelFailed),
    (Reply(fault="unauthorized"), ModelRejected),
    (Reply(fault="not-found"), ModelRejected),
    (Reply(fault="context-length"), ModelTooLong),
    (Reply(fault="close"), ModelUnavailable),
    (Reply(fault="error-event"), ModelFailed),
    (Reply(fault="cut"), ModelFailed),
    (Reply(fault="no-finish"), ModelFailed),
    (Reply(fault="filtered"), ModelFiltered),
    (Reply(fault="hang-head"), ModelTimeout),
    (Reply(fault="hang-between"), ModelTimeout),
]


@pytest.mark.parametrize(("reply", "kind"), FAULTS, ids=[str(reply.fault) for reply, _ in FAULTS])
@pytest.mark.parametrize("name", NAMES)
async def test_a_fault_is_an_error_of_ours(
    name: str, reply: Reply, kind: type[ModelError], server: ModelServer
) -> None:
    server.script(reply)
    async with opened(server, name, token_timeout=0.5) as model:
        _, error = await fails(model, kind)
    if isinstance(error, ModelRateLimited):
        assert error.wait == 7
    assert len(server.requests) == 1  # the SDKs try nothing again: ours is the one policy


@pytest.mark.parametrize("name", NAMES)
async def test_closing_a_stream_closes_the_connection(name: str, server: ModelServer) -> None:
    server.script(Reply(text="word " * 2000, delay=0.01))
    async with opened(server, name) as model:
        events = model.stream(ASKED)
        await anext(events)
        await events.aclose()
        assert await asyncio.to_thread(server.wait_for_disconnects, 1, timeout=10)


async def test_a_server_that_is_not_there_is_unavailable(server: ModelServer) -> None:
    async with opened(server, "anthropic", base_url="http://127.0.0.1:9") as model:
        await fails(model, ModelUnavailable)


@pytest.mark.parametrize("name", ["gemini", "bedrock", "vertex"])
async def test_a_name_without_its_package_says_what_to_install(name: str) -> None:
    package = "bedrock_converse" if name == "bedrock" else "google_genai"
    with pytest.raises(SettingsError) as caught:
        await open_model(Settings(llm=LLMSettings(provider=name, model="m", api_key=KEY)))
    with contextlib.suppress(ModuleNotFoundError):
        __import__(f"llama_index.llms.{package}")
        pytest.skip("it is installed")
    assert f"pip install llama-index-llms-{package.replace('_', '-')}" in str(caught.value)
