from __future__ import annotations

import pytest
from support.scripted import CITATION, HAPPY, SOURCES, Connect, Logged, Make, ScriptedState

from server.answers import Token
from server.engines.models.errors import ModelFailed, ModelRejected, ModelTimeout, ModelUnavailable
from server.errors import UnknownEngine
from storage.errors import CollectionNotFound, EmbeddingMismatch, StoreUnavailable
from storage.search.filters import Filter, FilterGroup


async def test_an_answer_has_every_field_of_the_contract(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        answer = (await http.post("/query", json={"question": "port?"})).json()
    assert set(answer) == {
        "answer", "citations", "sources", "finish_reason", "model", "usage", "cost_usd", "timings_ms", "collection",
        "generation", "trace_id", "request_id", "rerank", "cached", "engine", "explanation",
    }  # fmt: skip
    assert answer["answer"] == "Set the port [1]."
    assert {
        "id", "document_id", "source", "title", "page", "chunk_index", "text", "score", "start", "end", "cited",
    } <= set(answer["citations"][0])  # fmt: skip
    assert answer["citations"][0]["cited"] is True
    assert answer["usage"] == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "is_estimate": False}


async def test_a_question_reaches_the_service_with_its_exact_types(scripted: Make, client: Connect) -> None:
    made = scripted()
    body = {
        "question": "  port?\n",
        "collection": "notes-1",
        "k": 3,
        "mode": "vector",
        "filters": {
            "filters": [
                {"key": "n", "value": 2**53 + 1, "operator": "=="},
                {"key": "s", "value": "10", "operator": "!="},
                {"filters": [{"key": "b", "value": [True, 1, 1.0, "1"], "operator": "in"}], "condition": "not"},
            ],
            "condition": "or",
        },
        "document_ids": ["1e1", "10"],
        "min_score": 0,
        "temperature": 1,
        "max_tokens": 5,
    }
    async with client(made.app) as http:
        assert (await http.post("/query", json=body)).status_code == 200
    (question,) = made.answers.questions
    assert question.question == "port?"
    assert question.document_ids == ("1e1", "10")
    assert question.filters == FilterGroup(
        filters=[
            Filter(key="n", value=2**53 + 1),
            Filter(key="s", value="10", operator="!="),
            FilterGroup(filters=[Filter(key="b", value=[True, 1, 1.0, "1"], operator="in")], condition="not"),
        ],
        condition="or",
    )
    number, _, group = question.filters.filters
    assert isinstance(number, Filter)
    assert type(number.value) is int
    assert isinstance(group, FilterGroup)
    assert isinstance(group.filters[0], Filter)
    assert isinstance(values := group.filters[0].value, list)
    assert [type(value) for value in values] == [bool, int, float, str]


async def test_retrieve_gives_passages_and_takes_the_same_request(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        found = (await http.post("/retrieve", json={"question": "port?", "temperature": 0.5})).json()
    assert found["results"][0]["text"] == CITATION.text
    assert {"timings_ms", "generation", "trace_id"} <= set(found)


async def test_half_a_surrogate_pair_from_the_model_does_not_break_the_answer(scripted: Make, client: Connect) -> None:
    made = scripted((SOURCES, Token("a\ud800b"), HAPPY[-1]))
    async with client(made.app) as http:
        plain = await http.post("/query", json={"question": "q"})
        stream = await http.post("/query/stream", json={"question": "q"})
    assert plain.json()["answer"] == "a�b"
    assert "a�b" in stream.text
    assert "event: done" in stream.text


@pytest.mark.parametrize("path", ["/query", "/query/stream", "/retrieve"])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (CollectionNotFound("x"), (404, "collection-not-found")),
        (EmbeddingMismatch("other model"), (409, "embedding-mismatch")),
        (UnknownEngine("x", known=("hybrid",)), (422, "invalid-request")),
        (ModelFailed("bad"), (502, "model-failed")),
        (ModelRejected("key"), (502, "model-rejected")),
        (ModelUnavailable("refused"), (503, "model-unavailable")),
        (StoreUnavailable("down"), (503, "store-unavailable")),
        (ModelTimeout("slow"), (504, "deadline-exceeded")),
    ],
)
async def test_an_error_before_the_first_byte_is_a_plain_problem(
    scripted: Make, client: Connect, path: str, error: Exception, expected: tuple[int, str]
) -> None:
    async with client(scripted((error,)).app) as http:
        response = await http.post(path, json={"question": "q"}, headers={"X-Request-ID": "mine"})
    status, slug = expected
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == "mine"
    problem = response.json()
    assert (problem["type"], problem["status"], problem["request_id"]) == (f"/problems/{slug}", status, "mine")
    assert ("retry-after" in response.headers) == (slug in {"model-unavailable", "store-unavailable"})


@pytest.mark.parametrize("path", ["/query", "/query/stream", "/retrieve"])
async def test_a_defect_is_an_internal_problem_that_quotes_nothing(scripted: Make, client: Connect, path: str) -> None:
    async with client(scripted((ValueError("secret passage"),)).app) as http:
        response = await http.post(path, json={"question": "q"})
    assert response.status_code == 500
    assert response.json()["type"] == "/problems/internal"
    assert response.headers["x-request-id"] in response.json()["detail"]
    assert "secret passage" not in response.text


async def test_a_defect_is_logged_once_with_its_cause_and_without_the_question(
    scripted: Make, client: Connect, logged: Logged
) -> None:
    async with client(scripted((ValueError("boom"),)).app) as http:
        await http.post("/query", json={"question": "where is my secret"}, headers={"X-Request-ID": "mine"})
    (failure,) = [line for line in logged() if line["event"] != "request"]
    assert (failure["event"], failure["error"], failure["request_id"]) == ("request failed", "ValueError", "mine")
    assert "scripted.py" in failure["exception"]
    assert "where is my secret" not in str(logged())


async def test_lists_are_walked_with_their_cursors(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        first = (await http.get("/documents", params={"limit": 2})).json()
        second = (await http.get("/documents", params={"limit": 2, "cursor": first["next_cursor"]})).json()
        one = (await http.get("/documents/doc-2")).json()
        collections = (await http.get("/collections")).json()
        collection = (await http.get("/collections/default")).json()
    assert [item["id"] for item in first["items"] + second["items"]] == ["doc-1", "doc-2", "doc-3"]
    assert second["next_cursor"] is None
    assert one == first["items"][1]
    assert collections == {"items": [collection], "next_cursor": None}


@pytest.mark.parametrize(
    ("path", "expected", "field"),
    [
        ("/collections/nope", (404, "collection-not-found"), None),
        ("/documents?collection=nope", (404, "collection-not-found"), None),
        ("/documents/nope", (404, "document-not-found"), None),
        ("/documents/doc-1?collection=nope", (404, "document-not-found"), None),
        ("/documents?cursor=%21", (422, "invalid-request"), "cursor"),
        ("/documents?limit=0", (422, "invalid-request"), "limit"),
        ("/documents?limit=1e3", (422, "invalid-request"), "limit"),
        ("/documents?colection=default", (422, "invalid-request"), "colection"),
        ("/collections/No%20Name", (422, "invalid-request"), "name"),
        ("/documents/%00", (422, "invalid-request"), "document_id"),
        ("/documents?cursor=%00", (422, "invalid-request"), "cursor"),
        ("/nope", (404, "not-found"), None),
    ],
)
async def test_a_wrong_address_is_a_problem_that_names_the_field(
    scripted: Make, client: Connect, path: str, expected: tuple[int, str], field: str | None
) -> None:
    async with client(scripted().app) as http:
        response = await http.get(path)
    status, slug = expected
    assert (response.status_code, response.json()["type"]) == (status, f"/problems/{slug}")
    assert [error["field"] for error in response.json()["errors"]] == ([field] if field else [])


async def test_a_wrong_method_is_a_problem_that_keeps_the_allow_header(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        response = await http.get("/query")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert response.json()["type"] == "/problems/method-not-allowed"


async def test_ready_tells_each_dependency_and_fails_for_required_ones_only(scripted: Make, client: Connect) -> None:
    made = scripted()
    made.runtime.states["model"] = ScriptedState(ok=False, detail="refused", required=False)
    async with client(made.app) as http:
        ready = await http.get("/ready")
        made.runtime.states["database"] = ScriptedState(ok=False, detail="away")
        unready = await http.get("/ready")
        health = await http.get("/health")
    assert ready.status_code == 200
    assert ready.json()["dependencies"]["model"] == {"ok": False, "required": False, "detail": "refused", "facts": {}}
    assert unready.status_code == 503
    assert unready.json()["type"] == "/problems/store-unavailable"
    assert unready.json()["dependencies"]["database"]["ok"] is False
    assert health.status_code == 200


async def test_the_front_page_tells_a_newcomer_where_to_look(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        page = (await http.get("/")).json()
        assert (await http.get(page["docs"])).status_code == 200
        assert (await http.get(page["openapi"])).json()["info"]["version"] == page["version"]


async def test_browsers_of_named_origins_may_call(scripted: Make, client: Connect) -> None:
    async with client(scripted(cors_origins=("https://app.example",)).app) as http:
        allowed = await http.post("/query", json={"question": " "}, headers={"Origin": "https://app.example"})
        other = await http.post("/query", json={"question": "q"}, headers={"Origin": "https://evil.example"})
        preflight = await http.options(
            "/query",
            headers={
                "Origin": "https://app.example",
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "content-type,x-request-id",
            },
        )
    assert allowed.status_code == 422
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "X-Stream-ID" in allowed.headers["access-control-expose-headers"]
    assert other.status_code == 403
    assert "access-control-allow-origin" not in other.headers
    assert preflight.status_code == 200


async def test_without_the_setting_no_origin_is_allowed(scripted: Make, client: Connect) -> None:
    async with client(scripted().app) as http:
        response = await http.post("/query", json={"question": "q"}, headers={"Origin": "https://app.example"})
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers
