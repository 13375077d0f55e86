"""Reranking through the whole stack: what clients, `/ready`, metrics and traces see, and what failures cost."""

from __future__ import annotations

import re

import httpx
import pytest
from mcp.client import Client
from support.cross_encoder import make_cross_encoder
from support.events import ending
from support.model_server import Reply as ModelReply
from support.openai_clients import MODEL, connect
from support.otlp import start_receiver
from support.rerank_server import Reply, start_rerank_server
from support.stack import PATIENCE

QUESTION = "How is a sourdough starter fed, and when does the bread rise?"


@pytest.fixture(scope="module")
def reranker():
    with start_rerank_server() as server:
        yield server


@pytest.fixture(autouse=True)
def _fresh(reranker, stack):
    reranker.reply = Reply()
    reranker.requests.clear()
    stack.fresh()


@pytest.fixture(scope="module")
def http(stack, reranker):
    with serve(stack, reranker) as http:
        yield http


def serve(stack, reranker, **values):
    rerank = {"provider": "jina", "url": reranker.url, "api_key": "secret", "model": "scripted-ranker"}
    return stack.serve(rerank={**rerank, "breaker_failures": 0, **values})


def asked(**options):
    return {"question": QUESTION, "min_score": 0, **options}


def names(passages):
    return [each["source"] for each in passages]


APPLIED = {"applied": True, "model": "scripted-ranker", "candidates": 4, "reason": None}


def test_passages_come_in_the_reranker_s_order_with_its_score_among_the_others(http, reranker):
    reranker.reply = Reply(word="lighthouse")
    found = http.post("/retrieve", json=asked()).json()
    first = found["results"][0]
    assert first["source"] == "lighthouse.md"
    assert first["score"] == first["scores"]["rerank"] == pytest.approx(0.2)  # in the text, and in its title
    assert {"dense", "rerank"} <= first["scores"].keys()
    scores = [each["score"] for each in found["results"]]
    assert scores == sorted(scores, reverse=True)
    assert found["rerank"] == APPLIED
    assert found["timings_ms"]["rerank"] > 0
    (request,) = reranker.requests
    assert request.body["query"] == QUESTION
    assert any("Milada Novak" in text for text in request.body["documents"])


def test_the_passages_that_are_best_after_reranking_are_given_not_those_that_were_found_first(http, reranker):
    reranker.reply = Reply(word="lighthouse")
    assert names(http.post("/retrieve", json=asked(k=1)).json()["results"]) == ["lighthouse.md"]
    assert len(reranker.requests[0].body["documents"]) > 1


def test_a_request_may_decline_it(http, reranker):
    found = http.post("/retrieve", json=asked(rerank=False)).json()
    assert found["rerank"] is None
    assert found["timings_ms"]["rerank"] == 0
    assert not reranker.requests
    assert not any("rerank" in each["scores"] for each in found["results"])


def test_a_server_that_reranks_on_demand_does_so_where_it_is_asked_for(stack, reranker):
    with serve(stack, reranker, always=False) as http:
        assert http.post("/retrieve", json=asked()).json()["rerank"] is None
        assert http.post("/retrieve", json=asked(rerank=True)).json()["rerank"] == APPLIED


def test_a_server_without_a_reranker_refuses_to_be_asked_for_one(stack):
    with stack.serve() as http:
        response = http.post("/retrieve", json=asked(rerank=True))
        assert (response.status_code, response.json()["errors"][0]["field"]) == (422, "rerank")
        assert http.post("/retrieve", json=asked()).json()["rerank"] is None
        assert "rerank" not in http.get("/ready").json()["dependencies"]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (Reply(status=500), "failed"),
        (Reply(delay=3), "timeout"),
        (Reply(body=b"<html>"), "nonsense"),
        (Reply(results=[{"index": 99, "relevance_score": 1}]), "nonsense"),
        (Reply(status=401), "rejected"),
    ],
)
def test_where_it_fails_the_passages_come_as_they_were_found_and_are_marked_so(stack, reranker, reply, reason):
    with serve(stack, reranker, timeout=0.5) as http:
        unranked = http.post("/retrieve", json=asked(rerank=False)).json()
        reranker.reply = reply
        found = http.post("/retrieve", json=asked()).json()
        assert found["rerank"] == {**APPLIED, "applied": False, "reason": reason}
        assert [(each["source"], each["score"]) for each in found["results"]] == [
            (each["source"], each["score"]) for each in unranked["results"]
        ]
        answer = http.post("/query", json=asked())
        assert answer.status_code == 200
        assert answer.json()["rerank"]["reason"] == reason
        state = http.get("/ready").json()["dependencies"]["rerank"]
        assert (state["ok"], state["required"]) == (False, False)
        assert "secret" not in state["detail"]
        assert http.get("/ready").status_code == 200


def test_answers_streams_and_turns_say_what_became_of_it(http):
    assert http.post("/query", json=asked()).json()["rerank"] == APPLIED
    events = http.events("/query/stream", asked())
    assert events[0].data["rerank"] == APPLIED
    assert events[0].data["cached"] is False
    assert ending(events).name == "done"
    assert http.post("/chat", json={"message": QUESTION, "min_score": 0}).json()["rerank"] == APPLIED


FAILED = {**APPLIED, "applied": False, "reason": "failed"}


def test_openai_s_clients_learn_that_it_failed(http, reranker):
    reranker.reply = Reply(status=500)
    chat = connect(str(http.base_url).rstrip("/")).chat.completions
    request = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
    body = {"footnote": {"min_score": 0}}
    whole = chat.create(**request, extra_body=body)
    assert whole.choices[0].message.citations
    assert whole.choices[0].message.rerank == whole.footnote["rerank"] == FAILED
    with chat.stream(**request, extra_body=body, stream_options={"include_usage": True}) as events:
        *_, last, counts = [event.chunk for event in events if event.type == "chunk"]
    assert last.choices[0].delta.rerank == last.rerank == last.footnote["rerank"] == FAILED
    assert counts.rerank == FAILED
    assert events.get_final_completion().choices[0].message.rerank == FAILED
    reranker.reply = Reply()
    assert chat.create(**request, extra_body=body).choices[0].message.rerank == APPLIED
    declined = chat.create(**request, extra_body={"footnote": {"min_score": 0, "rerank": False}})
    assert declined.choices[0].message.rerank is None


async def test_mcp_s_clients_learn_that_it_failed(http, reranker):
    reranker.reply = Reply(status=500)
    async with Client(f"{str(http.base_url).rstrip('/')}/mcp") as client:
        for tool in ("search", "ask"):
            result = await client.call_tool(tool, asked())
            assert result.structured_content["rerank"] == FAILED
            assert "The reranking failed (failed)" in result.content[0].text
        reranker.reply = Reply()
        result = await client.call_tool("search", asked())
    assert result.structured_content["rerank"] == APPLIED
    assert "reranking" not in result.content[0].text


def test_with_nothing_found_there_is_nothing_to_rank(http, reranker):
    found = http.post("/retrieve", json=asked(min_score=1)).json()
    assert found["rerank"] == {**APPLIED, "applied": False, "candidates": 0, "reason": "no-passages"}
    assert not reranker.requests


def test_a_dead_reranker_is_left_alone_after_a_few_questions(stack, reranker):
    with serve(stack, reranker, breaker_failures=2, breaker_seconds=600, timeout=0.3) as http:
        reranker.reply = Reply(delay=2)
        reasons = [http.post("/retrieve", json=asked()).json()["rerank"]["reason"] for _ in range(4)]
        assert reasons == ["timeout", "timeout", "circuit-open", "circuit-open"]
        assert "took longer than 0.3 seconds" in http.get("/ready").json()["dependencies"]["rerank"]["detail"]


def test_a_server_starts_without_its_reranker_and_says_so(stack):
    rerank = {"provider": "cohere", "url": "http://127.0.0.1:9", "model": "away"}
    with stack.serve(rerank=rerank) as http:
        state = http.get("/ready").json()["dependencies"]["rerank"]
        assert (state["ok"], state["required"]) == (False, False)
        assert http.post("/retrieve", json=asked()).json()["rerank"]["reason"] == "unavailable"


def test_it_has_a_span_of_its_own_without_texts_and_is_counted(stack, reranker):
    rerank = {"PROVIDER": "jina", "URL": reranker.url, "MODEL": "ranker", "BREAKER_FAILURES": "1"}
    with start_receiver() as receiver:
        env = {f"RERANK__{name}": value for name, value in rerank.items()}
        with (
            stack.process(TELEMETRY__ENDPOINT=receiver.http_url, **env) as process,
            httpx.Client(base_url=process.url, timeout=PATIENCE) as http,
        ):
            trace_id = http.post("/retrieve", json=asked()).json()["trace_id"]
            receiver.wait_for(lambda: receiver.spans(trace_id, name="POST /retrieve"))
            reranker.reply = Reply(status=500)
            for _ in range(2):
                http.post("/retrieve", json=asked())
            metrics = http.get("/metrics").text.splitlines()
        (span,) = receiver.spans(trace_id, name="rerank ranker")
    assert span.attributes == {
        "gen_ai.operation.name": "rerank",
        "gen_ai.provider.name": "jina",
        "gen_ai.request.model": "ranker",
        "footnote.candidates": 4,
        "footnote.outcome": "applied",
        "openinference.span.kind": "RERANKER",
        "reranker.model_name": "ranker",
    }
    durations = counted(metrics, "footnote_rerank_duration_seconds_count")
    assert durations == {"applied": 1, "failed": 1}  # what was not asked has no duration
    assert counted(metrics, "footnote_rerank_failures_total") == {"failed": 1, "circuit-open": 1}
    (opened,) = [line for line in metrics if 'footnote_breaker="rerank jina"' in line and 'state="open"' in line]
    assert opened.endswith(" 1.0")


def counted(lines, name):
    """Return a metric's values by outcome."""
    found = [line for line in lines if line.startswith(name)]
    return {re.search(r'footnote_outcome="([^"]+)"', line)[1]: float(line.rsplit(" ", 1)[1]) for line in found}


def test_a_model_on_this_machine_ranks_for_a_real_server(stack, tmp_path):
    model = make_cross_encoder(tmp_path / "model")
    with stack.serve(rerank={"provider": "local", "model": str(model), "timeout": 30}) as http:
        found = http.post("/retrieve", json=asked()).json()
        assert found["rerank"] == {"applied": True, "model": str(model), "candidates": 4, "reason": None}
        assert http.get("/ready").json()["dependencies"]["rerank"]["ok"] is True
        again = http.post("/retrieve", json=asked()).json()
        assert [each["score"] for each in again["results"]] == [each["score"] for each in found["results"]]


def test_the_answering_model_ranks_where_it_is_told_to(stack):
    def reply(prompt):
        return "Doc: 4, Relevance: 9" if "Relevance" in prompt else "It was built [1]."

    stack.fresh(default=ModelReply(text=reply))
    with stack.serve(rerank={"provider": "llm", "timeout": 10}) as http:
        answer = http.post("/query", json=asked()).json()
    assert answer["rerank"]["applied"] is True
    assert answer["citations"][0]["scores"]["rerank"] == 9
    assert len(stack.model.requests) == 2
    assert answer["usage"]["total_tokens"] > 22  # of both calls
