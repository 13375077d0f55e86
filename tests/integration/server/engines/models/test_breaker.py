"""The circuit breaker over a real model server: who reaches it, and what clients, `/ready` and metrics tell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from llama_index.core.llms import ChatMessage
from support.events import ending
from support.model_server import ANSWER, Reply, start_model_server
from support.stack import PATIENCE, until

from config.settings import LLMSettings, Settings
from config.telemetry.metrics import BREAKER_STATE
from server.engines.models.choose import open_model
from server.engines.models.errors import ModelError, ModelTimeout, ModelUnavailable
from server.engines.models.events import Delta
from server.engines.models.local import LocalModel, missing

ASKED = "Who built the lighthouse of Ostrava Bay?"
MESSAGES = [ChatMessage(role="user", content=ASKED)]
QUERY = {"question": ASKED}
NEVER, SOON = 600, 0.3
"""Seconds until the trial: after the test, or within it."""


def broken_model(stack, *, fault="unavailable", seconds=NEVER, failures=3, **llm):
    """Serve with a model that fails from now on, until `stack.fresh` gives it another script."""
    stack.fresh(default=Reply(fault=fault))
    return stack.serve(llm={"breaker_failures": failures, "breaker_seconds": seconds, **llm}, streams={"grace": 0})


def ask(http, **options):
    return http.post("/query", json=QUERY, **options)


def opened(http, times=3):
    """Let the model fail until the breaker opens."""
    return [ask(http).status_code for _ in range(times)]


@contextlib.contextmanager
def trial(stack, http):
    """Hold a stream whose model has been asked."""
    with http.stream("POST", "/query/stream", json=QUERY):
        until(lambda: stack.model.requests)
        yield


def problem(response):
    return response.json()["type"].removeprefix("/problems/")


def readings():
    """Return the state that metrics tell: the one whose value is 1, of three."""
    values = {(each.attributes["footnote.breaker"], each.attributes["footnote.state"]): each.value for each in _read()}
    assert sorted(values.values()) == [0, 0, 1]
    return next(labels for labels, value in values.items() if value == 1)


def _read():
    return list(BREAKER_STATE._read(None))


def model_state(http):
    response = http.get("/ready")
    assert response.status_code == 200  # passages are found without the model
    return response.json()["dependencies"]["model"]


def test_an_open_breaker_answers_at_once_and_the_model_is_left_alone(stack):
    with broken_model(stack) as http:
        assert opened(http) == [502, 502, 502]
        response = ask(http)
        assert (response.status_code, problem(response)) == (503, "model-unavailable")
        assert NEVER - 60 < int(response.headers["retry-after"]) <= NEVER
        assert "failed 3 times in a row (the model's provider failed with status 503)" in response.json()["detail"]
        for path, body in {"/query/stream": QUERY, "/chat/stream": {"message": ASKED}}.items():
            last = ending(http.events(path, body))
            assert (last.data["type"], last.data["retryable"]) == ("/problems/model-unavailable", True)
            assert last.data["retry_after"] > 0
        assert len(stack.model.requests) == 3
        assert http.post("/retrieve", json=QUERY).status_code == 200


def test_readiness_and_metrics_tell_the_state(stack):
    with broken_model(stack) as http:
        assert readings() == ("openai_like", "closed")
        assert model_state(http)["ok"]
        opened(http)
        assert readings() == ("openai_like", "open")
        state = model_state(http)
        assert (state["ok"], state["required"]) == (False, False)
        assert "failed 3 times in a row" in state["detail"]
    assert _read() == []


def test_a_call_and_its_retries_are_one_failure(stack):
    with broken_model(stack, max_retries=1) as http:
        assert opened(http, 4) == [502, 502, 502, 503]
        assert len(stack.model.requests) == 3 * 2


def test_the_first_answer_after_an_outage_closes_it(stack):
    with broken_model(stack, seconds=SOON) as http:
        opened(http)
        until(lambda: readings()[1] == "half_open")
        stack.fresh()
        assert [ask(http).status_code for _ in range(5)] == [200] * 5
        assert readings()[1] == "closed"
        assert model_state(http)["ok"]


def test_a_trial_is_one_request_and_its_failure_keeps_the_others_out_for_as_long_again(stack):
    with broken_model(stack, seconds=1, max_retries=2, failures=1) as http:
        opened(http, 1)
        until(lambda: readings()[1] == "half_open")
        stack.model.requests.clear()
        assert ask(http).status_code == 502
        assert ask(http).status_code == 503
        assert len(stack.model.requests) == 1


def test_of_many_questions_at_once_one_is_the_trial(stack):
    with broken_model(stack, seconds=SOON) as http, ThreadPoolExecutor(40) as pool:
        opened(http)
        until(lambda: readings()[1] == "half_open")
        stack.fresh(Reply(fault="hang-first"))
        with trial(stack, http):
            statuses = Counter(each.status_code for each in pool.map(lambda _: ask(http), range(40)))
            assert statuses == {503: 40}
            assert len(stack.model.requests) == 1


@pytest.mark.parametrize("fault", ["hang-head", "hang-first"])
def test_a_client_that_leaves_during_the_trial_leaves_its_place_to_the_next(stack, fault):
    with broken_model(stack, seconds=SOON) as http:
        opened(http)
        until(lambda: readings()[1] == "half_open")
        stack.fresh(Reply(fault=fault))
        with pytest.raises(httpx.ReadTimeout):
            ask(http, timeout=0.5)
        assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
        until(lambda: ask(http).status_code == 200)
        assert readings()[1] == "closed"


def test_a_client_that_leaves_a_streamed_trial_leaves_its_place_to_the_next(stack):
    with broken_model(stack, seconds=SOON) as http:
        opened(http)
        until(lambda: readings()[1] == "half_open")
        stack.fresh(Reply(fault="hang-first"))
        with trial(stack, http):
            assert ask(http).status_code == 503
        assert stack.model.wait_for_disconnects(1, timeout=PATIENCE)
        until(lambda: ask(http).status_code == 200)
        assert readings()[1] == "closed"


@pytest.mark.parametrize("fault", ["cut", "no-finish", "garbage", "error-event", "hang-between"])
def test_answers_that_break_off_do_not_open_it(stack, fault):
    with broken_model(stack, fault=fault, failures=1, token_timeout=0.3) as http:
        for _ in range(3):
            assert ending(http.events("/query/stream", QUERY)).name == "error"
        assert readings()[1] == "closed"
        assert len(stack.model.requests) == 3


@pytest.mark.parametrize("fault", ["unauthorized", "not-found", "context-length", "rate-limited", "no-credit", "html"])
def test_a_provider_that_says_no_does_not_open_it(stack, fault):
    with broken_model(stack, fault=fault, failures=1) as http:
        assert len({ask(http).json()["detail"] for _ in range(3)}) == 1
        assert readings()[1] == "closed"


@pytest.mark.parametrize("fault", ["server-error", "close", "cut-first", "hang-head", "hang-first"])
def test_a_provider_that_is_away_opens_it(stack, fault):
    with broken_model(stack, fault=fault, failures=2, total_timeout=0.5) as http:
        opened(http, 2)
        assert readings()[1] == "open"
        assert ask(http).status_code == 503
        assert len(stack.model.requests) == 2


@contextlib.asynccontextmanager
async def model_of(server, **llm):
    """Open a model over a server, without the rest of Footnote."""
    address = {"provider": "openai_like", "base_url": server.openai_url, "api_key": "k", "model": "m"}
    model = await open_model(Settings(llm=LLMSettings(**address, **llm)))
    assert model is not None
    try:
        yield model
    finally:
        await model.close()


async def said(model):
    """Return the answer, or the error."""
    try:
        return "".join([event.text async for event in model.stream(MESSAGES) if isinstance(event, Delta)])
    except ModelError as error:
        return error


@pytest.mark.parametrize("calls", [100, pytest.param(500, marks=pytest.mark.soak)])
async def test_hundreds_of_calls_of_a_dead_model_end_soon_and_one_brings_it_back(calls):
    with start_model_server() as server:
        server.default = Reply(fault="close")
        async with model_of(server, max_retries=0, breaker_seconds=SOON) as model:
            first = await asyncio.gather(*(said(model) for _ in range(calls)))
            assert {type(each) for each in first} == {ModelUnavailable}
            assert model.breaker.state != "closed"
            await asyncio.sleep(SOON)
            server.requests.clear()
            server.default = Reply(delay=0.05)
            second = Counter(map(str, await asyncio.gather(*(said(model) for _ in range(calls)))))
            assert second.pop(ANSWER) == len(server.requests) == 1
            ((refusal, count),) = second.items()
            assert (count, "being tried again" in refusal) == (calls - 1, True)
            assert await asyncio.gather(*(said(model) for _ in range(20))) == [ANSWER] * 20


async def test_a_reader_that_is_cancelled_in_the_trial_does_not_wedge_it():
    with start_model_server() as server:
        server.default = Reply(fault="unavailable")
        async with model_of(server, max_retries=0, breaker_failures=1, breaker_seconds=SOON) as model:
            await said(model)
            server.default = Reply(fault="hang-first")
            await asyncio.sleep(SOON)
            for count in range(2, 5):
                trial = asyncio.create_task(said(model))
                while len(server.requests) < count:  # noqa: ASYNC110 (the server is in another thread)
                    await asyncio.sleep(0.01)
                assert "being tried again" in str(await said(model))
                trial.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await trial
            server.default = Reply()
            assert await said(model) == ANSWER


async def test_a_trial_that_hangs_ends_at_the_token_deadline_and_is_a_failure():
    with start_model_server() as server:
        server.default = Reply(fault="hang-head")
        short = {"token_timeout": 0.2, "breaker_failures": 1, "breaker_seconds": 5}
        async with model_of(server, **short) as model:
            assert isinstance(await said(model), ModelTimeout)
            model.breaker._due = time.monotonic()
            assert isinstance(await said(model), ModelTimeout)
            assert model.breaker.state == "open"
            assert len(server.requests) == 2


@pytest.mark.soak
@pytest.mark.local_model
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
async def test_a_local_model_that_died_answers_as_soon_as_it_is_back(shared_dir):
    strict = {"max_retries": 0, "breaker_failures": 1, "breaker_seconds": NEVER}
    llm = LLMSettings(provider="local", token_timeout=120, max_tokens=8, **strict)
    model = await open_model(Settings(data_dir=shared_dir / "local-model", llm=llm))
    assert model is not None
    assert isinstance(model._source, LocalModel)
    try:
        for _ in range(2):
            assert isinstance(await said(model), str)
            asked = [asyncio.create_task(said(model)) for _ in range(4)]
            await asyncio.sleep(0.05)  # they are with it, or wait for it
            os.kill(dead := model._source.pid, signal.SIGKILL)
            assert any(isinstance(end, ModelError) for end in await asyncio.gather(*asked))
            while model._source.pid == dead:  # noqa: ASYNC110 (the supervisor tells nobody)
                await asyncio.sleep(0.01)
    finally:
        await model.close()
