"""Answers that a model's server gives in one piece: every way in which such a call can go, in three protocols."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from llama_index.core.llms import ChatMessage
from support.model_calls import ASKED, PROTOCOLS, ask, fails, opened
from support.model_server import ANSWER, PROMPT_TOKENS, Fault, ModelServer, Reply, start_model_server

from server.answers import Usage
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
from server.engines.models.events import Finish

WORDS = len(ANSWER.split())
COUNTS = Usage(PROMPT_TOKENS, WORDS, PROMPT_TOKENS + WORDS)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with start_model_server() as running:
        yield running


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_comes_in_one_piece_with_its_counts(server: ModelServer, protocol: str) -> None:
    async with opened(server, protocol) as model:
        text, finish = await ask(model, whole=True)
    assert (text, finish) == (ANSWER, Finish("stop", COUNTS, "scripted-1"))
    assert server.requests[0].body["stream"] is False
    assert "stream_options" not in server.requests[0].body


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_settings_may_have_every_answer_streamed(server: ModelServer, protocol: str) -> None:
    async with opened(server, protocol, always_stream=True) as model:
        assert (await ask(model, whole=True))[0] == ANSWER
    assert server.requests[0].body["stream"] is True


@pytest.mark.parametrize("protocol", ["chat", "ollama"])
async def test_reasoning_is_no_part_of_the_answer(server: ModelServer, protocol: str) -> None:
    server.script(Reply(reasoning="let me think about it"), Reply(text=f"<think>Hm [7].</think>{ANSWER}"))
    async with opened(server, protocol) as model:
        for _ in range(2):
            assert (await ask(model, whole=True))[0].strip() == ANSWER


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_the_token_limit_and_missing_counts_are_told(server: ModelServer, protocol: str) -> None:
    server.script(Reply(finish_reason="length", usage=False))
    async with opened(server, protocol) as model:
        _, finish = await ask(model, whole=True)
    assert (finish.finish_reason, finish.usage) == ("length", None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("empty", ["", " \n", "\u200b"])
async def test_an_empty_answer_is_asked_for_again(server: ModelServer, protocol: str, empty: str) -> None:
    server.script(Reply(text=empty))
    async with opened(server, protocol) as model:
        assert (await ask(model, whole=True))[0] == ANSWER
    assert len(server.requests) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_without_a_reason_is_complete(server: ModelServer, protocol: str) -> None:
    server.script(Reply(fault="no-reason"))
    async with opened(server, protocol) as model:
        text, finish = await ask(model, whole=True)
    assert (text, finish.finish_reason, finish.usage) == (ANSWER, "stop", COUNTS)


async def test_a_server_that_streams_whatever_it_is_asked_for_is_read(server: ModelServer) -> None:
    server.script(Reply(fault="streams-anyway"))
    async with opened(server) as model:
        assert (await ask(model, whole=True))[0] == ANSWER


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("fault", "kind", "requests", "names"),
    [
        ("rate-limited", ModelRateLimited, 3, "rate limiting"),
        ("server-error", ModelFailed, 3, "status 500"),
        ("unavailable", ModelFailed, 3, "status 503"),
        ("close", ModelUnavailable, 3, "without an answer"),
        ("cut-first", ModelFailed, 3, "lost within"),
        ("cut", ModelFailed, 3, "lost within"),
        ("no-finish", ModelFailed, 3, "lost within"),
        ("error-event", ModelFailed, 3, "status 500"),
        ("unauthorized", ModelRejected, 1, "FOOTNOTE_LLM__"),
        ("not-found", ModelRejected, 1, "FOOTNOTE_LLM__MODEL"),
        ("context-length", ModelTooLong, 1, "smaller k"),
        ("html", ModelFailed, 1, "_BASE_URL"),
        ("garbage", ModelFailed, 1, "malformed"),
        ("empty-choices", ModelFailed, 1, "empty reply"),
    ],
)
async def test_a_fault_has_its_name_and_its_number_of_tries(
    server: ModelServer, *, protocol: str, fault: Fault, kind: type[ModelError], requests: int, names: str
) -> None:
    server.default = Reply(fault=fault)
    async with opened(server, protocol, max_retries=2) as model:
        text, error = await fails(model, kind, whole=True)
    assert text == ""
    assert len(server.requests) == requests
    assert names in str(error)


async def test_an_answer_stopped_by_the_content_filter_is_rejected(server: ModelServer) -> None:
    server.script(Reply(fault="filtered"))
    async with opened(server) as model:
        _, error = await fails(model, ModelFiltered, whole=True)
    assert "content filter" in str(error)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ["cut", "garbage"])
async def test_a_fault_that_passes_is_not_noticed_if_it_can_pass(
    server: ModelServer, protocol: str, fault: Fault
) -> None:
    server.script(Reply(fault=fault))
    async with opened(server, protocol, max_retries=2) as model:
        if fault == "garbage":
            await fails(model, ModelFailed, whole=True)
        else:
            assert (await ask(model, whole=True))[0] == ANSWER


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ["hang-head", "hang-first", "hang-between"])
async def test_a_silent_model_is_left_when_the_deadline_of_the_answer_passes(
    server: ModelServer, protocol: str, fault: Fault
) -> None:
    server.default = Reply(fault=fault)
    async with opened(server, protocol, token_timeout=0.1, total_timeout=0.5) as model:
        began = time.monotonic()
        _, error = await fails(model, ModelTimeout, whole=True)
        assert await asyncio.to_thread(server.wait_for_disconnects, 1, timeout=1)
    assert time.monotonic() - began >= 0.5
    assert "longer than 0.5 seconds" in str(error)
    assert len(server.requests) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_slow_answer_is_waited_for_beyond_the_timeout_of_a_token(server: ModelServer, protocol: str) -> None:
    server.default = Reply(delay=0.04)
    async with opened(server, protocol, token_timeout=0.1) as model:
        assert (await ask(model, whole=True))[0] == ANSWER


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", ["hang-head", "hang-first", "hang-between"])
async def test_cancelling_the_reader_hangs_up(server: ModelServer, protocol: str, fault: Fault) -> None:
    server.default = Reply(fault=fault)
    async with opened(server, protocol) as model:
        reader = asyncio.create_task(ask(model, whole=True))
        while not server.requests:  # noqa: ASYNC110 (the server is in another thread)
            await asyncio.sleep(0.01)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert await asyncio.to_thread(server.wait_for_disconnects, 1, timeout=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_one_connection_serves_one_question_after_the_other(server: ModelServer, protocol: str) -> None:
    async with opened(server, protocol) as model:
        for whole in (True, False, True, False, True):
            await ask(model, whole=whole)
    assert server.connections == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_hundred_questions_at_once_are_not_mixed_up(server: ModelServer, protocol: str) -> None:
    server.default = Reply(text=lambda question: f"you asked {question}")
    async with opened(server, protocol) as model:

        async def one(number: int) -> None:
            question = f"what is {number}?"
            text, _ = await ask(model, [ChatMessage(role="user", content=question)], whole=True)
            assert text == f"you asked {question}"

        await asyncio.gather(*map(one, range(100)))


async def test_a_parameter_that_the_server_does_not_know_is_left_out(server: ModelServer) -> None:
    server.default = Reply(fault="refused-parameter", parameter="temperature")
    async with opened(server) as model:
        for _ in range(2):
            assert (await ask(model, ASKED, whole=True))[0] == ANSWER
    assert ["temperature" in request.body for request in server.requests] == [True, False, False]
