"""Streamed answers for the official client."""

from __future__ import annotations

import json
from typing import Any

import httpx
import openai
import pytest
from support.events import parse, read_until
from support.openai_clients import ASK, MODEL, connect, connect_async
from support.scripted import DONE, HAPPY, SOURCES, Hang, Make, Serve

from server.answers import Token
from server.engines.models.errors import ModelFailed, ModelRateLimited, ModelUnavailable
from storage.errors import CollectionNotFound

BODY = {"model": MODEL, "messages": ASK, "stream": True}
USAGE: Any = {"stream": True, "stream_options": {"include_usage": True}}


def test_a_stream_is_a_role_then_text_then_an_end_with_citations(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        chunks = list(connect(server.url).chat.completions.create(model=MODEL, messages=ASK, stream=True))
    first, *middle, last = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert [chunk.choices[0].delta.content for chunk in middle] == ["Set the ", "port [1]."]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None, None, None, "stop"]
    assert {(chunk.id, chunk.object, chunk.created, chunk.model) for chunk in chunks} == {
        (first.id, "chat.completion.chunk", first.created, MODEL)
    }
    assert [citation["cited"] for citation in last.citations] == [True]  # type: ignore[attr-defined]
    assert last.choices[0].delta.citations == last.citations  # type: ignore[attr-defined]
    assert last.footnote["timings_ms"] == dict(DONE.timings_ms)  # type: ignore[attr-defined]
    assert last.footnote["finish_reason"] == "stop"  # type: ignore[attr-defined]
    assert all(chunk.usage is None for chunk in chunks)


def test_sources_are_known_before_the_first_word_of_a_model_that_thinks_for_long(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Hang()), ping_interval=0.2)
    with serve(made.app) as server:
        stream = connect(server.url).chat.completions.create(model=MODEL, messages=ASK, stream=True)
        first = next(iter(stream))
        assert first.footnote["sources"] == ["docs/configuration.md"]  # type: ignore[attr-defined]
        assert first.footnote["generation"] == "1"  # type: ignore[attr-defined]
        assert first.footnote["request_id"] == stream.response.headers["x-request-id"]  # type: ignore[attr-defined]
        stream.close()
        assert made.answers.closed.wait(5)


def test_tokens_are_counted_in_a_last_chunk_without_choices_that_has_the_citations_too(
    scripted: Make, serve: Serve
) -> None:
    with serve(scripted().app) as server:
        chunks = list(connect(server.url).chat.completions.create(model=MODEL, messages=ASK, **USAGE))
    end, last = chunks[-2:]
    assert last.choices == []
    assert last.usage is not None
    assert last.usage.model_dump(exclude_none=True) == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "is_estimate": False,
    }
    assert (end.choices[0].finish_reason, end.usage) == ("stop", None)
    assert end.citations == last.citations  # type: ignore[attr-defined]
    assert end.footnote == last.footnote  # type: ignore[attr-defined]
    assert last.citations[0]["source"] == "docs/configuration.md"  # type: ignore[attr-defined]


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False}, {"include_usage": None}])
def test_tokens_are_not_counted_unless_asked_for(scripted: Make, serve: Serve, options: Any) -> None:
    with serve(scripted().app) as server:
        text = httpx.post(f"{server.url}/v1/chat/completions", json=BODY | {"stream_options": options}).text
    chunks = [event.data for event in parse(text)[:-1]]
    assert len(chunks) == 4
    assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)


def test_the_client_s_own_collector_has_text_and_citations_in_its_message(scripted: Make, serve: Serve) -> None:
    with (
        serve(scripted().app) as server,
        connect(server.url).chat.completions.stream(
            model=MODEL, messages=ASK, stream_options={"include_usage": True}
        ) as stream,
    ):
        kinds = [event.type for event in stream]
        whole = stream.get_final_completion()
    assert kinds[-1] != "chunk" or "content.done" in kinds
    message = whole.choices[0].message
    assert message.content == "Set the port [1]."
    assert message.citations[0]["cited"] is True  # type: ignore[attr-defined]
    assert whole.usage is not None
    assert whole.usage.total_tokens == 15


async def test_the_async_client_reads_the_same_stream(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        async with connect_async(server.url) as client:
            stream = await client.chat.completions.create(model=MODEL, messages=ASK, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "Set the port [1]."


def test_the_wire_has_data_lines_only_and_ends_once(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        response = httpx.post(f"{server.url}/v1/chat/completions", json=BODY)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    blocks = response.text.split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    for block in blocks[:-2]:
        assert json.loads(block.removeprefix("data: "))["object"] == "chat.completion.chunk"


def test_text_with_every_kind_of_line_end_arrives_as_it_is(scripted: Make, serve: Serve) -> None:
    text = 'a\nb\r\nc\rd\u2028e\n\ndata: [DONE]\n\n: x\0 "q" 😀\x85'
    with serve(scripted((SOURCES, Token(text), DONE)).app) as server:
        chunks = list(connect(server.url).chat.completions.create(model=MODEL, messages=ASK, stream=True))
    assert chunks[1].choices[0].delta.content == text


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (ModelFailed("the model sent HTML"), "model-failed", "server_error"),
        (ModelUnavailable("gone", retry_after=9), "model-unavailable", "server_error"),
        (ValueError("secret"), "internal", "server_error"),
    ],
)
def test_an_error_on_the_way_is_raised_as_the_client_s_own(
    scripted: Make, serve: Serve, error: Exception, code: str, kind: str
) -> None:
    received = []
    with serve(scripted((SOURCES, Token("a"), error)).app) as server:
        stream = connect(server.url).chat.completions.create(model=MODEL, messages=ASK, stream=True)
        with pytest.raises(openai.APIError) as raised:
            received.extend(chunk.choices[0].delta.content for chunk in stream)
        text = httpx.post(f"{server.url}/v1/chat/completions", json=BODY).text
    assert (raised.value.code, raised.value.type) == (code, kind)
    assert "secret" not in raised.value.message
    assert received == ["", "a"]
    assert text.endswith("data: [DONE]\n\n")
    assert text.count('"error"') == text.count("[DONE]") == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ModelRateLimited("slow down", wait=7.0), openai.RateLimitError),
        (ModelFailed("the model sent HTML"), openai.InternalServerError),
    ],
)
def test_an_error_before_the_model_s_first_piece_is_a_plain_response(
    scripted: Make, serve: Serve, error: Exception, kind: type[openai.APIStatusError]
) -> None:
    with serve(scripted((SOURCES, error)).app) as server, pytest.raises(kind) as raised:
        connect(server.url).chat.completions.create(model=MODEL, messages=ASK, stream=True)
    assert raised.value.response.headers.get("retry-after") == ("7" if kind is openai.RateLimitError else None)


def test_an_error_after_a_long_silence_comes_in_the_stream(scripted: Make, serve: Serve) -> None:
    script = (SOURCES, 1.0, ModelFailed("the model sent HTML"))
    with serve(scripted(script, ping_interval=0.2).app) as server:
        stream = connect(server.url).chat.completions.create(model=MODEL, messages=ASK, stream=True)
        with pytest.raises(openai.APIError) as raised:
            list(stream)
    assert not isinstance(raised.value, openai.APIStatusError)


def test_json_that_fails_before_it_is_whole_is_a_plain_response(scripted: Make, serve: Serve) -> None:
    body = BODY | {"response_format": {"type": "json_object"}}
    with serve(scripted((SOURCES, Token('{"a'), ModelFailed("the model sent HTML"))).app) as server:
        response = httpx.post(f"{server.url}/v1/chat/completions", json=body)
    assert (response.status_code, response.json()["error"]["code"]) == (502, "model-failed")


def test_an_error_before_the_first_event_is_a_plain_response(scripted: Make, serve: Serve) -> None:
    with serve(scripted((CollectionNotFound("default"),)).app) as server, pytest.raises(openai.NotFoundError):
        connect(server.url).chat.completions.create(model=MODEL, messages=ASK, stream=True)


def test_pings_do_not_disturb_the_client(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, 0.4, Token("a"), DONE), ping_interval=0.1)
    with serve(made.app) as server:
        chunks = list(connect(server.url).chat.completions.create(model=MODEL, messages=ASK, stream=True))
        assert ": ping" in httpx.post(f"{server.url}/v1/chat/completions", json=BODY).text
    assert len(chunks) == 3


@pytest.mark.parametrize("script", [(SOURCES, Token("first"), Hang()), (SOURCES, Hang())])
def test_a_client_that_leaves_cancels_the_model_at_once_even_where_others_may_come_back(
    scripted: Make, serve: Serve, script: tuple[object, ...]
) -> None:
    made = scripted(script, streams={"grace": 30}, ping_interval=0.2)
    with serve(made.app) as server:
        with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=BODY) as response:
            _rest = read_until(response, "assistant")
            assert made.answers.waiting.wait(5)
            assert not made.answers.closed.wait(0.2)
        assert made.answers.closed.wait(5)


def test_a_stream_in_this_protocol_cannot_be_taken_up_again(scripted: Make, serve: Serve) -> None:
    with serve(scripted(HAPPY).app) as server:
        response = httpx.post(f"{server.url}/v1/chat/completions", json=BODY)
        again = httpx.get(f"{server.url}/streams/{response.headers['x-stream-id']}")
    assert again.status_code == 404
