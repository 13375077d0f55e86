"""Everything that can go wrong, as the official client's own errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import openai
import pytest
from support.openai_clients import ASK, EMBEDDING_MODEL, MODEL, connect
from support.scripted import SOURCES, Hang, Make, Serve

from config.errors import FootnoteError
from embedding.errors import EmbeddingFailed
from server.api import problems
from server.api.openai.errors import translated
from server.engines.models.errors import ModelFailed, ModelRejected, ModelTimeout, ModelUnavailable
from server.errors import Overloaded, UnknownEngine
from storage.errors import CollectionNotFound, EmbeddingMismatch, StoreUnavailable, UnsupportedFilter

COMPLETIONS = "/v1/chat/completions"
BODY = {"model": MODEL, "messages": ASK}
USER = ASK[0]


@pytest.mark.parametrize(
    ("error", "raised", "code", "param"),
    [
        (CollectionNotFound("default"), openai.NotFoundError, "model_not_found", "model"),
        (UnknownEngine("hybrid", known=("x",)), openai.BadRequestError, "invalid-request", "footnote.mode"),
        (UnsupportedFilter("no"), openai.BadRequestError, "invalid-request", "footnote.filters"),
        (EmbeddingMismatch("other"), openai.ConflictError, "embedding-mismatch", None),
        (ModelFailed("bad"), openai.InternalServerError, "model-failed", None),
        (ModelRejected("bad"), openai.InternalServerError, "model-rejected", None),
        (ModelTimeout("slow"), openai.InternalServerError, "deadline-exceeded", None),
        (StoreUnavailable("down"), openai.InternalServerError, "store-unavailable", None),
        (ZeroDivisionError("secret"), openai.InternalServerError, "internal", None),
    ],
)
def test_an_error_is_raised_as_the_class_of_its_status(
    scripted: Make, serve: Serve, *, error: Exception, raised: type[openai.APIStatusError], code: str, param: str | None
) -> None:
    with serve(scripted((error,)).app) as server, pytest.raises(raised) as caught:
        connect(server.url).chat.completions.create(model=MODEL, messages=ASK)
    assert type(caught.value) is raised
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.request_id
    assert "secret" not in str(caught.value)
    expected = problems.problem_of(error, request_id="x").kind.status
    assert caught.value.status_code == (400 if expected == 422 else expected)


@pytest.mark.parametrize("kind", [*problems.KINDS.values(), problems.MALFORMED])
def test_every_problem_has_a_body_that_the_client_understands(kind: problems.Kind) -> None:
    error = translated(problems.Problem(kind, "why").document("r"))
    assert error.status == (400 if kind.status == 422 else kind.status)
    assert set(error.body()["error"]) == {"message", "type", "param", "code"}  # type: ignore[call-overload]
    assert "why" in error.message
    assert error.code


def test_waiting_is_asked_for_in_the_header_that_the_client_reads(scripted: Make, serve: Serve) -> None:
    made = scripted((ModelUnavailable("gone", retry_after=7),))
    with serve(made.app) as server, pytest.raises(openai.InternalServerError) as caught:
        connect(server.url).chat.completions.create(model=MODEL, messages=ASK)
    assert caught.value.response.headers["retry-after"] == "7"
    assert "x-should-retry" not in caught.value.response.headers


@pytest.mark.parametrize(
    ("error", "asked"), [(EmbeddingMismatch("x"), 1), (ModelRejected("key"), 1), (ModelFailed("x"), 2)]
)
def test_the_client_does_not_repeat_what_cannot_succeed(
    scripted: Make, serve: Serve, error: FootnoteError, asked: int
) -> None:
    made = scripted((error,))
    with serve(made.app) as server, pytest.raises(openai.APIStatusError):
        connect(server.url, max_retries=1).chat.completions.create(model=MODEL, messages=ASK)
    assert len(made.answers.questions) == asked


def test_the_client_s_own_retry_gets_the_answer(scripted: Make, serve: Serve) -> None:
    made = scripted()
    script, made.answers.script = made.answers.script, (Overloaded(),)
    with serve(made.app) as server:
        client = connect(server.url, max_retries=2)
        original = client._sleep_for_retry

        def mend(**arguments: Any) -> None:
            made.answers.script = script
            original(**arguments)

        client._sleep_for_retry = mend  # type: ignore[method-assign, assignment]
        assert client.chat.completions.create(model=MODEL, messages=ASK).choices[0].message.content


CALL = {"id": "x", "type": "function", "function": {"name": "f", "arguments": "{}"}}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"n": True}, "n"),
    ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
    ({"functions": [{"name": "f"}]}, "functions"),
    ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice"),
    (
        {"model": "footnote/none", "tools": [{"type": "function", "function": {"name": "f"}}] * 2},
        "tools[1].function.name",
    ),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format"),
    ({"logprobs": True}, "logprobs"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"modalities": ["text", "audio"]}, "modalities"),
    ({"audio": {"voice": "x"}}, "audio"),
    ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
    ({"web_search_options": {}}, "web_search_options"),
    ({"temperature": 2.1}, "temperature"),
    ({"temperature": "0"}, "temperature"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
    ({"stop": ["a"] * 5}, "stop"),
    ({"stop": ""}, "stop"),
    ({"stop": 3}, "stop"),
    ({"stream": "yes"}, "stream"),
    ({"stream_options": []}, "stream_options"),
    ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": "hello"}, "messages"),
    ({"messages": [USER] * 2001}, "messages"),
    ({"messages": [{"role": "assistant", "content": "hello"}]}, "messages[0].role"),
    ({"messages": [USER, {"role": "tool", "content": "1", "tool_call_id": "x"}, USER]}, "messages[1].role"),
    ({"messages": [{"role": "function", "content": "1", "name": "x"}, USER]}, "messages[0].role"),
    ({"messages": [{"role": "assistant", "tool_calls": [CALL]}, USER]}, "messages[0].tool_calls"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}, USER]}, "messages[0].tool_calls[0].function"),
    ({"messages": [{"content": "x"}]}, "messages[0].role"),
    ({"messages": [USER, "x"]}, "messages[1]"),
    ({"messages": [{"role": "user", "content": " \n"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a\0b"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x" * 8001}]}, "messages[0].content"),
    ({"messages": [{"role": "assistant", "content": "x" * 100_001}, USER]}, "messages[0].content"),
    ({"messages": [{"role": "system", "content": "x" * 32_001}, USER]}, "messages"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
    ({"footnote": {"k": 0}}, "footnote.k"),
    ({"footnote": {"k": "3"}}, "footnote.k"),
    ({"footnote": {"knn": 3}}, "footnote.knn"),
    ({"footnote": {"min_score": 2}}, "footnote.min_score"),
    ({"footnote": {"filters": {"filters": [{"key": "a"}] * 300}}}, "footnote.filters"),
    ({"footnote": []}, "footnote"),
    ({"filters": {"filters": [{"key": "tenant", "value": 3}]}}, "footnote.filters"),
    ({"k": 3}, "footnote.k"),
]


@pytest.mark.parametrize(("fields", "param"), REFUSED, ids=[json.dumps(fields)[:60] for fields, _ in REFUSED])
def test_what_cannot_be_honoured_is_refused_by_its_name(
    scripted: Make, serve: Serve, fields: dict[str, Any], param: str
) -> None:
    made = scripted()
    with serve(made.app) as server, pytest.raises(openai.BadRequestError) as caught:
        connect(server.url).chat.completions.create(model=MODEL, messages=ASK, extra_body=fields)
    assert (caught.value.param, caught.value.code) == (param, "invalid-request")
    assert caught.value.message.count(param)
    assert made.answers.questions == []


@pytest.mark.parametrize(
    "model", ["gpt-4o", "nope", "footnote/nope", "footnote/", "../etc", "footnote/footnote/default"]
)
def test_a_model_that_is_no_collection_is_not_found(scripted: Make, serve: Serve, model: str) -> None:
    made = scripted((CollectionNotFound("x"),))
    with serve(made.app) as server, pytest.raises(openai.NotFoundError) as caught:
        connect(server.url).chat.completions.create(model=model, messages=ASK)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "GET /v1/models" in caught.value.message


def error_of(response: httpx.Response) -> Mapping[str, Any]:
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert int(response.headers["content-length"]) == len(response.content)
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 5000, b'{"a": NaN}', b"\xff\xfe", b"null", b"[]", b'"x"'])
def test_a_body_that_is_no_json_object_is_refused(scripted: Make, serve: Serve, content: bytes) -> None:
    with serve(scripted().app) as server:
        for path in (COMPLETIONS, "/v1/embeddings"):
            headers = {"Content-Type": "application/json"}
            response = httpx.post(server.url + path, content=content, headers=headers)
            assert response.status_code == 400
            assert error_of(response)["code"] == "invalid-request"


def test_a_body_with_hundreds_of_members_is_refused(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        response = httpx.post(server.url + COMPLETIONS, json=BODY | {f"x{n}": n for n in range(200)})
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid-request")


def test_an_object_deep_within_the_body_is_refused(scripted: Make, serve: Serve) -> None:
    content = json.dumps(BODY)[:-1] + ', "metadata": ' + '{"a":' * 300 + "1" + "}" * 301
    with serve(scripted().app) as server:
        headers = {"Content-Type": "application/json"}
        response = httpx.post(server.url + COMPLETIONS, content=content, headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (400, "invalid-request")


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/responses", "/v1/completions", "/v1/chat", "/v1/audio/speech"])
def test_what_footnote_does_not_have_is_not_found_and_it_says_what_it_has(
    scripted: Make, serve: Serve, path: str
) -> None:
    with serve(scripted().app) as server:
        response = httpx.post(server.url + path, json=BODY)
    assert response.status_code == 404
    assert COMPLETIONS in error_of(response)["message"]


def test_another_method_is_refused_with_those_that_there_are(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        response = httpx.get(server.url + COMPLETIONS)
    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert error_of(response)["code"] == "method-not-allowed"


def test_paths_that_only_look_alike_keep_footnote_s_own_problems(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        for path in ("/v12/models", "/nope", "/query/v1/x"):
            response = httpx.get(server.url + path)
            assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"x" * 5000, {"Content-Type": "application/json"}, 413, "too-large"),
        (iter([b"x" * 1000] * 5), {"Content-Type": "application/json"}, 413, "too-large"),
        (b"model=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
    ],
    ids=["announced", "chunked", "form", "gzip"],
)
def test_bodies_that_are_not_read_are_refused_in_the_same_shape(
    scripted: Make, serve: Serve, *, content: Any, headers: dict[str, str], status: int, code: str
) -> None:
    with serve(scripted(max_body_bytes=2000).app) as server:
        response = httpx.post(server.url + COMPLETIONS, content=content, headers=headers)
    assert (response.status_code, error_of(response)["code"]) == (status, code)


def test_a_server_that_is_full_says_so_in_the_same_shape(scripted: Make, serve: Serve) -> None:
    made = scripted((SOURCES, Hang()), max_concurrency=1, ping_interval=0.2)
    with serve(made.app) as server, httpx.stream("POST", server.url + COMPLETIONS, json=BODY | {"stream": True}):
        response = httpx.post(server.url + COMPLETIONS, json=BODY)
        assert (response.status_code, error_of(response)["code"]) == (503, "overloaded")
        assert int(response.headers["retry-after"]) >= 1
        assert response.headers.get("x-should-retry") is None


def test_a_request_that_takes_too_long_ends_in_the_same_shape(scripted: Make, serve: Serve) -> None:
    with serve(scripted((Hang(),), request_timeout=0.3).app) as server:
        response = httpx.post(server.url + COMPLETIONS, json=BODY)
    assert (response.status_code, error_of(response)["code"]) == (504, "deadline-exceeded")


def test_an_embedding_model_that_fails_is_an_error_of_the_server(scripted: Make, serve: Serve) -> None:
    made = scripted()
    made.runtime.embedder.step = EmbeddingFailed("the embedding model failed")
    with serve(made.app) as server, pytest.raises(openai.InternalServerError) as caught:
        connect(server.url).embeddings.create(model=EMBEDDING_MODEL, input="x")
    assert (caught.value.status_code, caught.value.code) == (503, "model-unavailable")
