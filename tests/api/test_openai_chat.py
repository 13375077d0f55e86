"""Whole answers for the official client."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest
from support.openai_clients import ASK, MODEL, connect, connect_async
from support.scripted import DONE, SOURCES, Hang, Make, Serve

from server.answers import Done, Message, Question, Sources, Token, Usage
from storage.search.filters import Filter, FilterGroup


def test_the_client_reads_an_answer_with_its_citations(scripted: Make, serve: Serve) -> None:
    begun = int(time.time())
    with serve(scripted().app) as server:
        answer = connect(server.url).chat.completions.create(model=MODEL, messages=ASK)
    (choice,) = answer.choices
    assert (choice.message.role, choice.message.content, choice.finish_reason) == (
        "assistant",
        "Set the port [1].",
        "stop",
    )
    (citation,) = choice.message.citations  # type: ignore[attr-defined]
    assert (citation["id"], citation["source"], citation["cited"]) == (1, "docs/configuration.md", True)
    assert citation["metadata"] == {"lang": "en", "big": 2**53 + 1}
    assert answer.id.startswith("chatcmpl-")
    assert (answer.object, answer.model) == ("chat.completion", MODEL)
    assert begun <= answer.created <= time.time() + 1
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 5, 15)


def test_what_the_protocol_has_no_place_for_is_in_an_object_of_footnote_s(scripted: Make, serve: Serve) -> None:
    sources = replace(SOURCES, standalone_question="What is the port?")
    with serve(scripted((sources, Token("a"), DONE)).app) as server:
        client = connect(server.url, default_headers={"X-Request-ID": "mine"})
        answer = client.chat.completions.create(model=MODEL, messages=ASK)
    assert answer.footnote == {  # type: ignore[attr-defined]
        "finish_reason": "stop",
        "model": "scripted",
        "collection": "default",
        "generation": "1",
        "sources": ["docs/configuration.md"],
        "standalone_question": "What is the port?",
        "timings_ms": dict(DONE.timings_ms),
        "cost_usd": None,
        "engine": None,
        "rerank": None,
        "cached": False,
        "trace_id": None,
        "request_id": "mine",
    }
    assert answer._request_id == "mine"


async def test_the_async_client_reads_the_same(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        async with connect_async(server.url) as client:
            answer = await client.chat.completions.create(model=MODEL, messages=ASK)
    assert answer.choices[0].message.content == "Set the port [1]."


def test_a_raw_response_has_its_headers_and_parses(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        raw = connect(server.url).chat.completions.with_raw_response.create(model=MODEL, messages=ASK)
    assert raw.headers["content-type"] == "application/json"
    assert raw.headers["x-request-id"] == raw.parse().footnote["request_id"]  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", ["footnote/default", "default"])
def test_a_model_s_name_is_a_collection_with_or_without_its_owner(scripted: Make, serve: Serve, model: str) -> None:
    made = scripted()
    with serve(made.app) as server:
        answer = connect(server.url).chat.completions.create(model=model, messages=ASK)
    assert made.answers.questions[0].collection == "default"
    assert answer.model == model


def test_messages_become_a_question_its_history_and_instructions(scripted: Make, serve: Serve) -> None:
    made = scripted()
    messages: list[Any] = [
        {"role": "system", "content": "Answer in French."},
        {"role": "user", "content": "Who are you?", "name": "ada"},
        {"role": "assistant", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "server."}]},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": " How do I "}, {"type": "text", "text": "stop it? "}]},
    ]
    with serve(made.app) as server:
        connect(server.url).chat.completions.create(model=MODEL, messages=messages)
    (turn,) = made.answers.turns
    assert turn.question.question == "How do I \nstop it?"
    assert turn.history == (Message("user", "Who are you?"), Message("assistant", "A\nserver."))
    assert turn.instructions == "Answer in French.\n\nBe brief."


def test_an_answer_can_be_sent_back_as_the_client_holds_it(scripted: Make, serve: Serve) -> None:
    made = scripted()
    with serve(made.app) as server:
        client = connect(server.url)
        first = client.chat.completions.create(model=MODEL, messages=ASK).choices[0].message
        whole = [*ASK, first.model_dump(), *ASK]  # with every null member that the client knows
        client.chat.completions.create(model=MODEL, messages=whole)
        client.chat.completions.create(model=MODEL, messages=[*ASK, first, *ASK])  # type: ignore[list-item]
    for turn in made.answers.turns[1:]:
        assert turn.history == (
            Message("user", "How do I change the port?"),
            Message("assistant", "Set the port [1]."),
        )


def test_what_a_request_may_decide_reaches_the_answer(scripted: Make, serve: Serve) -> None:
    made = scripted()
    options = {
        "k": 3,
        "mode": "keyword",
        "min_score": 0.5,
        "document_ids": ["doc-1"],
        "rerank": True,
        "filters": {"filters": [{"key": "lang", "value": "en"}]},
    }
    with serve(made.app) as server:
        connect(server.url).chat.completions.create(
            model=MODEL,
            messages=ASK,
            temperature=0,
            max_tokens=50,
            max_completion_tokens=60,
            stop=["\n\n", "END"],
            extra_body={"footnote": options},
        )
    assert made.answers.questions == [
        Question(
            question="How do I change the port?",
            collection="default",
            k=3,
            mode="keyword",
            min_score=0.5,
            document_ids=("doc-1",),
            rerank=True,
            filters=FilterGroup(filters=(Filter(key="lang", value="en"),)),
            temperature=0.0,
            max_tokens=60,
            stop=("\n\n", "END"),
        )
    ]


@pytest.mark.parametrize(("stop", "expected"), [("END", ("END",)), ([], ()), (None, ()), (["a", "b"], ("a", "b"))])
def test_stop_is_one_text_or_several(scripted: Make, serve: Serve, stop: Any, expected: tuple[str, ...]) -> None:
    made = scripted()
    with serve(made.app) as server:
        connect(server.url).chat.completions.create(model=MODEL, messages=ASK, max_tokens=7, stop=stop)
    assert made.answers.questions[0].stop == expected
    assert made.answers.questions[0].max_tokens == 7


IGNORED: dict[str, Any] = {
    "top_p": 0.9, "presence_penalty": 1, "frequency_penalty": 1, "logit_bias": {"5": 1}, "seed": 1, "user": "ada",
    "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "parallel_tool_calls": False, "verbosity": "low",
    "reasoning_effort": "low", "safety_identifier": "x", "prompt_cache_key": "x",
}  # fmt: skip
HARMLESS: dict[str, Any] = {
    "n": 1, "tools": [], "tool_choice": "none", "response_format": {"type": "text"}, "logprobs": False,
    "modalities": ["text"], "functions": [], "function_call": "auto",
}  # fmt: skip
UNKNOWN: dict[str, Any] = {
    "top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1, "num_ctx": 8192, "keep_alive": "5m", "chat_id": "x",
    "session_id": "x", "options": {}, "think": False, "stream_options": None, "temperature": None, "stop": None,
}  # fmt: skip


@pytest.mark.parametrize("fields", [IGNORED, HARMLESS, dict.fromkeys(HARMLESS), UNKNOWN])
def test_what_clients_send_and_no_answer_depends_on_is_ignored(
    scripted: Make, serve: Serve, fields: dict[str, Any]
) -> None:
    made = scripted()
    with serve(made.app) as server:
        connect(server.url).chat.completions.create(model=MODEL, messages=ASK, extra_body=fields)
    assert made.answers.questions == [Question("How do I change the port?")]


@pytest.mark.parametrize("key", [None, "Bearer nonsense", "Basic eDp5"])
def test_any_key_is_taken_and_none(scripted: Make, serve: Serve, key: str | None) -> None:
    body = {"model": MODEL, "messages": ASK}
    with serve(scripted().app) as server:
        headers = {"Authorization": key} if key else {}
        assert httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("reason", "expected"), [("stop", "stop"), ("length", "length"), ("no_context", "stop"), ("extractive", "stop")]
)
def test_an_end_has_a_name_that_clients_know_and_its_own_beside_it(
    scripted: Make, serve: Serve, reason: Any, expected: str
) -> None:
    with serve(scripted((SOURCES, Token("a"), replace(DONE, finish_reason=reason))).app) as server:
        answer = connect(server.url).chat.completions.create(model=MODEL, messages=ASK)
    assert answer.choices[0].finish_reason == expected
    assert answer.footnote["finish_reason"] == reason  # type: ignore[attr-defined]


def no_model(**changes: Any) -> Done:
    return replace(DONE, **{"finish_reason": "no_context", "usage": None, "citations": (), "sources": (), **changes})


@pytest.mark.parametrize(
    ("done", "total"),
    [
        (replace(DONE, usage=None), None),
        (no_model(), 0),
        (no_model(finish_reason="extractive"), 0),
        (no_model(timings_ms={"condense": 400.0}), None),  # a model was asked what the question means
        (no_model(usage=Usage(3, 4, 7)), 7),
    ],
)
def test_tokens_that_nobody_counted_are_null_and_where_no_model_was_asked_there_are_none(
    scripted: Make, serve: Serve, done: Done, total: int | None
) -> None:
    with serve(scripted((Sources((), (), "default", "1"), Token("Nothing."), done)).app) as server:
        answer = connect(server.url).chat.completions.create(model=MODEL, messages=ASK)
    assert (answer.usage.total_tokens if answer.usage else None) == total


def test_a_client_that_leaves_cancels_the_model(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Token("a"), Hang()))
    with serve(made.app) as server:
        with pytest.raises(openai.APITimeoutError):
            connect(server.url, timeout=0.3).chat.completions.create(model=MODEL, messages=ASK)
        assert made.answers.closed.wait(5)
    assert made.answers.closed_by[0].__name__ == "CancelledError"
