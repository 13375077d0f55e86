"""Any LlamaIndex LLM as the model: threads, deadlines, cancellation, tokens, errors without secrets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from support import plugged_llms
from support.model_calls import ASKED, QUESTION, ask
from support.plugged_llms import ANSWER, CALLS, STUBBORN

from config.settings import LLMSettings, Settings, SettingsError
from server.answers import Usage
from server.engines.models import choose
from server.engines.models.errors import (
    ModelError,
    ModelFailed,
    ModelFiltered,
    ModelTimeout,
    ModelUnavailable,
)
from server.engines.models.model import LanguageModel
from server.engines.models.plug_in import asking

SECRET = "sk-very-secret"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    CALLS.clear()
    STUBBORN.clear()
    yield
    STUBBORN.set()


@contextlib.asynccontextmanager
async def plugged(name: str, arguments: dict[str, Any] | None = None, **llm: Any) -> AsyncIterator[LanguageModel]:
    given = {"class": f"{plugged_llms.__name__}.{name}", "arguments": arguments or {}, "max_retries": 0, **llm}
    model = await choose.open_model(Settings(llm=LLMSettings(**given)))
    assert model is not None
    try:
        yield model
    finally:
        await model.close()


@pytest.mark.parametrize("whole", [False, True])
async def test_a_synchronous_class_answers_from_a_thread_with_estimated_tokens(whole: bool) -> None:
    async with plugged("SleepyLLM") as model:
        assert (model.name, model.provider, model.context_window, model.is_chat) == ("sleepy", "SleepyLLM", 5000, True)
        assert "in threads" in model.description
        text, finish = await ask(model, whole=whole, temperature=0.25, max_tokens=12)
    assert (text, finish.finish_reason, finish.model) == (ANSWER, "stop", "sleepy")
    assert finish.usage is not None
    assert finish.usage.is_estimate
    assert finish.usage.completion_tokens > 5
    assert CALLS[0]["thread"].startswith("plug-in")
    assert (CALLS[0]["temperature"], CALLS[0]["max_tokens"]) == (0.25, 12)
    assert QUESTION in CALLS[0]["prompt"]


@pytest.mark.parametrize("whole", [False, True])
async def test_an_async_class_is_awaited_and_tells_its_tokens_and_its_end(whole: bool) -> None:
    async with plugged("TellingLLM", {"reason": "max_tokens"}) as model:
        text, finish = await ask(model, whole=whole)
    assert (text, finish.finish_reason, finish.model) == (ANSWER, "length", "telling-1")
    assert finish.usage == Usage(7, 3, 10)
    assert {call["thread"] for call in CALLS} == {"MainThread"}


async def test_a_class_that_blocks_the_loop_for_all_its_async_methods_can_be_sent_to_threads() -> None:
    async with plugged("TellingLLM", in_threads=True) as model:
        assert (await ask(model, whole=True))[0] == ANSWER
    assert CALLS[0]["thread"].startswith("plug-in")


async def test_the_loop_is_free_while_a_class_sleeps() -> None:
    async with plugged("SleepyLLM", {"pause": 1.0}) as model:
        answer = asyncio.create_task(ask(model))
        longest, before = 0.0, time.monotonic()
        while not answer.done():
            await asyncio.sleep(0.01)
            longest, before = max(longest, time.monotonic() - before), time.monotonic()
        assert (await answer)[0] == ANSWER
    assert longest < 0.5  # a second, if it slept on the loop


async def test_a_class_that_does_not_stream_answers_whole_and_it_is_said_at_the_start() -> None:
    async with plugged("WholeLLM") as model:
        assert "does not stream" in model.description
        assert (await ask(model))[0] == ANSWER


async def test_closing_a_stream_ends_the_generator_in_its_thread() -> None:
    async with plugged("SleepyLLM") as model:
        events = model.stream(ASKED)
        await anext(events)
        await events.aclose()
        async with asyncio.timeout(10):
            while not any("closed" in call for call in CALLS):  # noqa: ASYNC110 (a thread does it)
                await asyncio.sleep(0.01)


async def test_a_stop_sequence_ends_the_answer_of_a_class_that_knows_none() -> None:
    async with plugged("TellingLLM") as model:
        text, finish = await ask(model, stop=["the plain", "never"])
    assert (text.rstrip(), finish.finish_reason) == ("Rain falls mainly on", "stop")
    assert finish.usage is not None
    assert finish.usage.is_estimate


async def test_threads_that_do_not_return_are_lost_and_when_all_are_calls_fail_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asking, "GRACE", 0.0)
    async with plugged("StubbornLLM", threads=2, token_timeout=0.2) as model:
        for _ in range(2):
            with pytest.raises(ModelTimeout):
                await ask(model)
        with pytest.raises(ModelUnavailable, match="all 2 threads of StubbornLLM"):
            await ask(model)
        assert "do not return" in (await model.unready_reason() or "")
        STUBBORN.set()
        async with asyncio.timeout(10):
            while await model._source.probe():  # noqa: ASYNC110 (a thread does it)
                await asyncio.sleep(0.01)
        assert (await ask(model))[0] == ANSWER


@pytest.mark.parametrize("error", ["RuntimeError", "SystemExit", "StopIteration"])
async def test_what_a_class_raises_is_an_error_of_ours_without_prompt_and_key(
    error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    for whole in (True, False):
        async with plugged("LeakyLLM", {"error": error, "api_key": "${MY_KEY}"}) as model:
            with pytest.raises(ModelFailed) as caught:
                await ask(model, whole=whole)
        assert "LeakyLLM" in str(caught.value)
        assert "secret" not in str(caught.value)
        assert SECRET not in caught.value.detail
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("reason", ["refusal", "SAFETY", "guardrail_intervened"])
async def test_a_content_filter_is_told_apart(reason: str) -> None:
    async with plugged("TellingLLM", {"reason": reason}) as model:
        with pytest.raises(ModelFiltered):
            await ask(model, whole=True)


async def test_calls_beyond_the_threads_wait_for_their_turn() -> None:
    async with plugged("SleepyLLM", {"pause": 0.05}, threads=2) as model:
        answers = await asyncio.gather(*(ask(model) for _ in range(9)))
    assert {text for text, _ in answers} == {ANSWER}


@pytest.mark.parametrize(
    ("llm", "said"),
    [
        ({"class": "llama_index.llms.no_such.NoSuch"}, "pip install llama-index-llms-no-such"),
        ({"class": "collections.OrderedDict"}, "is no llama_index.core.llms.llm.LLM"),
        ({"class": "nothing_offers_this"}, "no installed package offers 'nothing_offers_this' as footnote.llms"),
        ({"class": f"{plugged_llms.__name__}.SleepyLLM", "arguments": {"pause": "long"}}, "see pause"),
        ({"class": f"{plugged_llms.__name__}.SleepyLLM", "base_url": "http://x"}, "FOOTNOTE_LLM__BASE_URL: the class"),
        ({"class": f"{plugged_llms.__name__}.SleepyLLM", "arguments": {"api_key": "${NOT_SET}"}}, "NOT_SET is not set"),
        ({"provider": "azure", "model": "m"}, "FOOTNOTE_LLM__BASE_URL: set it to use azure"),
    ],
)
async def test_what_cannot_work_is_one_line_at_the_start(llm: dict[str, Any], said: str) -> None:
    if llm.get("provider") == "azure":
        pytest.importorskip("llama_index.llms.azure_openai", reason="pip install llama-index-llms-azure-openai")
    with pytest.raises(SettingsError) as caught:
        await choose.open_model(Settings(llm=LLMSettings(**llm)))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_the_deadline_holds_for_a_whole_answer_of_a_class_that_hangs() -> None:
    async with plugged("StubbornLLM", total_timeout=0.2) as model:
        with pytest.raises(ModelError):
            await ask(model, [ChatMessage(role="user", content="?")], whole=True)
