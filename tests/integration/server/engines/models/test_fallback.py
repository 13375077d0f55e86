"""Models that stand for each other: when the next is asked, when it is not, and what is told of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import pytest
from llama_index.core.llms import LLM, ChatMessage, MockLLM
from llama_index.llms.openai_like import OpenAILike
from support.model_calls import ASKED, KEY, ask
from support.model_server import ANSWER, ModelServer, Reply, start_model_server
from support.plugged_llms import SilentLLM

from config.settings import FallbackKind, LLMSettings, Settings, SettingsError
from server.engines.models.choose import open_model
from server.engines.models.errors import ModelError, ModelFailed, ModelFiltered, ModelTimeout, ModelUnavailable
from server.engines.models.events import Delta, Finish
from server.engines.models.fallback.llm import WRITTEN_BY, FallbackLLM
from server.engines.models.model import LanguageModel
from server.errors import BudgetExhausted

SPARE = "The spare one wrote this [1]."


@pytest.fixture
def servers() -> Iterator[list[ModelServer]]:
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(start_model_server()) for _ in range(3)]
        for server in started[1:]:
            server.default = Reply(text=SPARE)
        yield started


def llm_of(server: ModelServer, **further: Any) -> dict[str, Any]:
    known = {"provider": "openai_like", "model": f"m{server.port}", "base_url": server.openai_url, "api_key": KEY}
    return known | {"max_retries": 0, "token_timeout": 0.5, **further}


@contextlib.asynccontextmanager
async def listed(
    servers: Sequence[ModelServer], *, patience: float = 0.5, **first: Any
) -> AsyncIterator[LanguageModel]:
    names = [f"spare-{number}" for number in range(1, len(servers))]
    others = {
        name: LLMSettings(**llm_of(server, token_timeout=patience))
        for name, server in zip(names, servers[1:], strict=True)
    }
    own = {"token_timeout": patience, **first}
    settings = Settings(llm=LLMSettings(**llm_of(servers[0], fallback=tuple(names), **own)), llms=others)
    model = await open_model(settings)
    assert model is not None
    try:
        yield model
    finally:
        await model.close()


async def test_the_first_answers_where_it_can(servers: list[ModelServer]) -> None:
    async with listed(servers) as model:
        text, finish = await ask(model)
    assert (text, finish.note) == (ANSWER, "")
    assert [len(server.requests) for server in servers] == [1, 0, 0]


@pytest.mark.parametrize(
    "fault", ["rate-limited", "server-error", "unauthorized", "close", "hang-first", "context-length"]
)
@pytest.mark.parametrize("whole", [False, True])
async def test_the_next_answers_after_a_failure_before_the_first_word(
    fault: Any, whole: bool, servers: list[ModelServer]
) -> None:
    servers[0].script(Reply(fault=fault))
    servers[1].script(Reply(fault="unavailable"))
    async with listed(servers, total_timeout=5 if fault != "hang-first" else 2) as model:
        if fault == "hang-first" and whole:
            pytest.skip("a whole answer has the whole time, which is then over")
        text, finish = await ask(model, whole=whole)
    assert text == SPARE
    assert finish.note.startswith("The model spare-2 wrote this: default failed (")
    assert [len(server.requests) for server in servers] == [1, 1, 1]


async def test_a_model_that_asks_for_a_pause_is_not_waited_for_where_another_can_answer(
    servers: list[ModelServer],
) -> None:
    servers[0].default = Reply(fault="rate-limited", retry_after="7")
    async with listed(servers[:2], max_retries=2) as model:
        started = time.monotonic()
        text, _ = await ask(model)
    assert (text, len(servers[0].requests)) == (SPARE, 1)
    assert time.monotonic() - started < 5


async def test_a_model_that_hangs_is_passed_over_for_a_whole_answer_too(servers: list[ModelServer]) -> None:
    servers[0].default = Reply(fault="hang-first")
    async with listed(servers[:2]) as model:
        started = time.monotonic()
        text, finish = await ask(model, whole=True)
    assert text == SPARE
    assert "timeout" in finish.note
    assert time.monotonic() - started < 20


async def test_the_setting_that_is_named_is_that_of_the_model_that_failed(servers: list[ModelServer]) -> None:
    for server in servers:
        server.default = Reply(fault="unauthorized")
    async with listed(servers[:2], fallback_on=("rejected",)) as model:
        with pytest.raises(ModelError, match="check api_key of spare-1 in FOOTNOTE_LLMS"):
            await ask(model)
    async with listed(servers[:1]) as model:
        with pytest.raises(ModelError, match="check FOOTNOTE_LLM__API_KEY"):
            await ask(model)


async def test_a_model_that_stands_alone_is_waited_for(servers: list[ModelServer]) -> None:
    servers[0].script(Reply(fault="rate-limited", retry_after="2"))
    async with listed(servers[:1], max_retries=2, token_timeout=10) as model:
        assert (await ask(model))[0] == ANSWER
    assert len(servers[0].requests) == 2


async def test_after_the_first_word_nobody_else_is_asked(servers: list[ModelServer]) -> None:
    servers[0].script(Reply(fault="cut"))
    async with listed(servers) as model:
        with pytest.raises(ModelFailed):
            await ask(model)
    assert not servers[1].requests


@pytest.mark.parametrize(
    "wordless",
    [
        Reply(text=""),
        Reply(text=" \n\u200b"),
        Reply(text="<think>Let me see.</think>\n\n"),
        Reply(text="", reasoning="Let me see."),
        Reply(text="<think>Let me see.", finish_reason="length"),
        Reply(text="", finish_reason="length"),
    ],
    ids=str,
)
@pytest.mark.parametrize("whole", [False, True])
async def test_an_answer_without_a_word_is_passed_on_along_the_whole_list(
    whole: bool, wordless: Reply, servers: list[ModelServer]
) -> None:
    servers[0].default = servers[1].default = wordless
    async with listed(servers, patience=30) as model:
        text, finish = await ask(model, whole=whole)
        assert (text, finish.note) == (SPARE, "The model spare-2 wrote this: default failed (failed).")
        assert [len(server.requests) for server in servers] == [1, 1, 1]
        servers[2].default = wordless
        with pytest.raises(ModelFailed, match=r"empty answer|token limit"):
            await ask(model, whole=whole)


async def test_an_answer_without_a_word_is_paid_for_and_may_be_left_out_of_the_kinds(
    servers: list[ModelServer],
) -> None:
    servers[0].default = Reply(text="")
    async with listed(servers[:2], patience=30, fallback_on=("unavailable",)) as model:
        model.pay_from(counted := Counted())
        with pytest.raises(ModelFailed, match="empty answer"):
            await ask(model)
    assert not servers[1].requests
    assert len(counted.used) == 1


async def test_one_s_own_llm_that_returns_nothing_is_passed_over(servers: list[ModelServer]) -> None:
    spare = LLMSettings(**llm_of(servers[1], token_timeout=30))
    first = LLMSettings(class_path="support.plugged_llms.SilentLLM", max_retries=0, fallback=("spare",))
    model = await open_model(Settings(llm=first, llms={"spare": spare}))
    assert model is not None
    for whole in (False, True):
        assert (await ask(model, whole=whole))[0] == SPARE
    assert "another FOOTNOTE_LLM__CLASS, or FOOTNOTE_LLM__PROVIDER in its place, chooses another" in model.description
    await model.close()


async def test_a_blank_beginning_is_kept(servers: list[ModelServer]) -> None:
    servers[0].default = Reply(text=" \n word and more")
    async with listed(servers[:2], patience=30) as model:
        assert (await ask(model))[0] == " \n word and more"


async def test_a_content_filter_is_not_gone_round_unless_the_settings_say_so(servers: list[ModelServer]) -> None:
    filtered = Reply(text="", fault="filtered")
    servers[0].script(filtered, filtered)
    async with listed(servers) as model:
        with pytest.raises(ModelFiltered):
            await ask(model)
    async with listed(servers, fallback_on=("filtered",)) as model:
        assert (await ask(model))[0] == SPARE


async def test_kinds_that_the_settings_leave_out_are_raised(servers: list[ModelServer]) -> None:
    servers[0].script(Reply(fault="server-error"))
    async with listed(servers, fallback_on=("unavailable",)) as model:
        with pytest.raises(ModelFailed):
            await ask(model)


async def test_an_open_breaker_passes_the_question_on_at_once(servers: list[ModelServer]) -> None:
    servers[0].default = Reply(fault="server-error")
    async with listed(servers[:2], breaker_failures=2) as model:
        for _ in range(5):
            assert (await ask(model))[0] == SPARE
        assert model.refusal is None
        assert await model.unready_reason() is None
        assert model.resting.startswith("default: the model failed 2 times in a row")
        states = {labels["footnote.breaker"] for each in model.members for _, labels in each.breaker.readings()}
    assert states == {"default", "spare-1"}  # as switches and notes call them
    assert len(servers[0].requests) == 2


async def test_when_all_fail_the_last_failure_is_raised(servers: list[ModelServer]) -> None:
    servers[0].script(Reply(fault="server-error"))
    servers[1].script(Reply(fault="close"))
    async with listed(servers[:2]) as model:
        with pytest.raises(ModelUnavailable):
            await ask(model)


async def test_all_have_the_total_timeout_of_the_first_together(servers: list[ModelServer]) -> None:
    for server in servers:
        server.default = Reply(fault="hang-head")
    started = time.monotonic()
    async with listed(servers, total_timeout=0.8, token_timeout=0.5) as model:
        with pytest.raises(ModelTimeout):
            await ask(model)
    assert time.monotonic() - started < 5  # 0.8 s, not three times 0.5 and more


async def test_a_silent_model_is_hedged_and_the_slower_one_is_cancelled(servers: list[ModelServer]) -> None:
    servers[0].script(Reply(fault="hang-head"))
    async with listed(servers[:2], hedge_after=0.1, token_timeout=30) as model:
        text, finish = await ask(model)
        assert text == SPARE
        assert finish.note == "The model spare-1 wrote this: default was silent."
        assert await asyncio.to_thread(servers[0].wait_for_disconnects, 1, timeout=10)


async def test_closing_a_stream_closes_the_connection_of_whoever_writes(servers: list[ModelServer]) -> None:
    servers[0].script(Reply(fault="unavailable"))
    servers[1].script(Reply(text="word " * 2000, delay=0.01))
    async with listed(servers[:2]) as model:
        events = model.stream(ASKED)
        await anext(events)
        await events.aclose()
        assert await asyncio.to_thread(servers[1].wait_for_disconnects, 1, timeout=10)


class Broke:
    """A purse with dollars for nothing, and tokens for all."""

    def count(self, text: str, /) -> int:
        return len(text)

    async def reserve(self, *, tokens: int, usd: float) -> None:
        if usd > 0:
            msg = f"{tokens} tokens cost too much"
            raise BudgetExhausted(msg, retry_after=9, retryable=False)

    async def settle(self, reservation: None, used: object) -> None: ...

    def settle_later(self, reservation: None, used: object) -> None: ...


class Counted(Broke):
    """A purse with enough in it, which keeps what was used."""

    def __init__(self) -> None:
        self.used: list[object] = []

    async def reserve(self, *, tokens: int, usd: float) -> None: ...

    async def settle(self, reservation: None, used: object) -> None:  # noqa: ARG002 (the purse's)
        self.used.append(used)


async def test_after_a_budget_only_a_cheaper_model_is_asked(servers: list[ModelServer]) -> None:
    dear = {f"m{servers[0].port}": {"input": 5, "output": 5}}
    async with listed(servers[:2], prices=dear) as model:
        model.pay_from(Broke())
        text, finish = await ask(model)
        assert text == SPARE
        assert "failed (budget)" in finish.note
    async with listed(servers[:1] + servers[:1], prices=dear) as model:
        for each in model.members:
            each._limits = model.members[0]._limits
        model.pay_from(Broke())
        with pytest.raises(BudgetExhausted):
            await ask(model)


@pytest.mark.parametrize(
    ("first", "other", "said"),
    [
        ({"residency": "eu"}, {}, "has the residency (none), the model that it would stand for 'eu'"),
        ({}, {"residency": "us"}, "has the residency 'us'"),
        ({}, {"is_chat_model": False}, "chat models and base models cannot stand for each other"),
        ({}, {"provider": "local"}, "spare is not a model that another can stand for"),
        ({}, {"provider": "openai", "api_key": None}, "FOOTNOTE_LLMS, spare: "),
    ],
)
async def test_what_cannot_stand_for_it_is_refused_at_the_start(
    first: dict[str, Any], other: dict[str, Any], said: str, servers: list[ModelServer]
) -> None:
    llm = LLMSettings(**llm_of(servers[0], fallback=("spare",), **first))
    settings = Settings(llm=llm, llms={"spare": LLMSettings(**{**llm_of(servers[1]), **other})})
    with pytest.raises(SettingsError) as caught:
        await open_model(settings)
    assert said in str(caught.value)


def stock(server: ModelServer, name: str) -> LLM:
    return OpenAILike(model=name, api_base=server.openai_url, api_key=KEY, is_chat_model=True, max_retries=0, timeout=5)


Way = Callable[[FallbackLLM], Any]


async def _astream(llm: FallbackLLM) -> Any:
    return [piece async for piece in await llm.astream_chat(MESSAGES)][-1]


MESSAGES = [ChatMessage(role="user", content="Where does the rain fall?")]
WAYS: dict[str, Way] = {
    "chat": lambda llm: asyncio.to_thread(llm.chat, MESSAGES),
    "complete": lambda llm: asyncio.to_thread(llm.complete, "Where?"),
    "stream_chat": lambda llm: asyncio.to_thread(lambda: list(llm.stream_chat(MESSAGES))[-1]),
    "stream_complete": lambda llm: asyncio.to_thread(lambda: list(llm.stream_complete("Where?"))[-1]),
    "achat": lambda llm: llm.achat(MESSAGES),
    "acomplete": lambda llm: llm.acomplete("Where?"),
    "astream_chat": _astream,
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_fallback_llm_works_alone_in_every_way(way: str, servers: list[ModelServer]) -> None:
    servers[0].default = Reply(fault="server-error")
    llm = FallbackLLM([stock(servers[0], "first"), stock(servers[1], "second")], failures=3)
    for _ in range(5):
        response = await WAYS[way](llm)
        said = getattr(response, "message", None)
        assert (said.content if said else response.text) == SPARE
        assert response.additional_kwargs[WRITTEN_BY] == "second"
    assert len(servers[0].requests) == 3  # then its breaker is open


async def test_a_fallback_llm_raises_the_last_error_as_it_was(servers: list[ModelServer]) -> None:
    servers[0].default = servers[1].default = Reply(fault="server-error")
    llm = FallbackLLM([stock(servers[0], "first"), stock(servers[1], "second")])
    with pytest.raises(Exception, match="boom") as caught:
        await llm.achat(MESSAGES)
    assert not isinstance(caught.value, ModelError)
    only: tuple[FallbackKind, ...] = ("rate_limited",)
    servers[1].requests.clear()
    with pytest.raises(Exception, match="boom"):
        await FallbackLLM([stock(servers[0], "first"), stock(servers[1], "second")], on=only).achat(MESSAGES)
    assert not servers[1].requests


@pytest.mark.parametrize("way", WAYS)
async def test_a_fallback_llm_passes_an_answer_without_a_word_on(way: str, servers: list[ModelServer]) -> None:
    servers[0].default = Reply(text="")
    llm = FallbackLLM([stock(servers[0], "first"), SilentLLM(), stock(servers[1], "second")])
    response = await WAYS[way](llm)
    assert response.additional_kwargs[WRITTEN_BY] == "second"
    assert SPARE in str(response)
    silent = FallbackLLM([stock(servers[0], "first"), SilentLLM()])
    with pytest.raises(ModelFailed, match="silent wrote an empty answer"):
        await WAYS[way](silent)


@pytest.mark.parametrize("way", ["chat", "stream_chat", "achat", "astream_chat"])
async def test_a_fallback_llm_does_not_go_round_a_filter(way: str, servers: list[ModelServer]) -> None:
    servers[0].default = Reply(text="", finish_reason="content_filter")
    with pytest.raises(ModelFiltered):
        await WAYS[way](FallbackLLM([stock(servers[0], "first"), stock(servers[1], "second")]))
    assert not servers[1].requests


def test_a_fallback_llm_refuses_kinds_that_there_are_not() -> None:
    with pytest.raises(ValueError, match=r"no failure 'bogus'; there are: .*timeout"):
        FallbackLLM([MockLLM()], on=["bogus"])  # type: ignore[list-item]


async def test_a_fallback_llm_hedges(servers: list[ModelServer]) -> None:
    servers[0].default = Reply(fault="hang-head")
    llm = FallbackLLM([stock(servers[0], "first"), stock(servers[1], "second")], hedge_after=0.1)
    assert (await llm.achat(MESSAGES)).message.content == SPARE


def test_a_fallback_llm_keeps_residencies_and_kinds_apart() -> None:
    with pytest.raises(ValueError, match="residencies"):
        FallbackLLM([MockLLM(), MockLLM()], residencies=["eu", None])
    with pytest.raises(ValueError, match="at least one"):
        FallbackLLM([])
    assert FallbackLLM([MockLLM(), MockLLM()], residencies=["eu", "eu"]).complete("echo").text == "echo"


async def test_a_question_s_events_keep_their_order(servers: list[ModelServer]) -> None:
    servers[0].script(Reply(fault="unavailable"))
    async with listed(servers[:2]) as model:
        events = [event async for event in model.stream(ASKED)]
    assert [type(event) for event in events] == [Delta] * (len(events) - 1) + [Finish]
