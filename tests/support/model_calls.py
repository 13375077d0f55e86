"""Calls of a language model over a scripted server, for the tests of every way in which one can go."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from llama_index.core.llms import ChatMessage
from support.model_server import ModelServer

from config.settings import LLMSettings, Settings
from server.engines.models.choose import open_model
from server.engines.models.errors import ModelError
from server.engines.models.events import Delta, Finish
from server.engines.models.limits import Limits
from server.engines.models.model import LanguageModel

KEY = "sk-very-secret"
QUESTION = "Where does the rain fall, oh secret question?"
ASKED = [ChatMessage(role="user", content=QUESTION)]
PROTOCOLS = ("chat", "completions", "ollama")


def settings_for(server: ModelServer, protocol: str, **llm: Any) -> Settings:
    address = (
        {"provider": "ollama", "ollama_base_url": server.ollama_url}
        if protocol == "ollama"
        else {"provider": "openai_like", "base_url": server.openai_url, "is_chat_model": protocol == "chat"}
    )
    return Settings(llm=LLMSettings(**{"model": "scripted", "api_key": KEY} | address | llm))


@contextlib.asynccontextmanager
async def opened(server: ModelServer, protocol: str = "chat", **llm: Any) -> AsyncIterator[LanguageModel]:
    settings = settings_for(server, protocol, **llm)
    model = await open_model(settings)
    assert isinstance(model, LanguageModel)
    limits = Limits.of(settings.llm)
    model._limits = Limits(**{name: getattr(limits, name) for name in limits.__slots__} | {"backoff": 0.01})
    try:
        yield model
    finally:
        await model.close()


async def ask(model: LanguageModel, messages: Sequence[ChatMessage] = ASKED, **options: Any) -> tuple[str, Finish]:
    """Return (text, the end); fail if the stream's order is not pieces, then one end."""
    events = [event async for event in model.stream(messages, **options)]
    *deltas, finish = events
    assert isinstance(finish, Finish)
    assert all(isinstance(delta, Delta) and delta.text for delta in deltas)
    return "".join(delta.text for delta in deltas if isinstance(delta, Delta)), finish


async def fails(model: LanguageModel, kind: type[ModelError], *, whole: bool = False) -> tuple[str, ModelError]:
    """Return (text before the failure, the failure); no message holds the key or the question."""
    text = ""
    failure = None
    try:
        async for event in model.stream(ASKED, whole=whole):
            assert isinstance(event, Delta), "it ended well"
            text += event.text
    except ModelError as error:
        failure = error
    assert type(failure) is kind
    assert KEY not in str(failure) + failure.detail
    assert "secret question" not in str(failure)
    return text, failure
