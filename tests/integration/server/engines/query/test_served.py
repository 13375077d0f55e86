"""Every engine by name through every door: whole and streamed answers, passages alone, chats, OpenAI's protocol."""

from __future__ import annotations

import json

import httpx
import pytest
from support.chaptered import index_chaptered
from support.databases import in_database
from support.engines import BREAD, HARBOUR, scripted
from support.environment import make_settings
from support.events import ending, parse
from support.indexed import real_app
from support.model_server import Reply
from support.scripted import running

from server.engines.registry import CHAT_ENGINES, ENGINES

ASKED = "What does the keeper of the lighthouse earn, and how long does sourdough bread rise?"
PARTS = ["What does the keeper of the lighthouse earn?", "How long does sourdough bread rise?"]


@pytest.fixture(scope="module")
def dsn(databases, embedder):
    """Lend a database with two collections, which all tests ask and none changes."""

    async def fill(database):
        await index_chaptered(database, embedder, {"harbour.md": HARBOUR, "bread.md": BREAD})
        await index_chaptered(database, embedder, {"other.md": BREAD}, name="other")

    with databases.lend() as url:
        in_database(url, fill)
        yield url


@pytest.fixture
def http(embedder, settings, model_server):
    """Serve the application over two collections, with the scripted model."""
    model_server.requests.clear()
    model_server.default = scripted(listed=json.dumps(PARTS))
    llm = {"provider": "openai_like", "base_url": model_server.openai_url, "api_key": "k", "model": "m"}
    llm |= {"max_retries": 0, "breaker_failures": 0, "prices": {"m": {"input": 1.0, "output": 1.0}}}
    chosen = make_settings(settings.database.url.get_secret_value(), settings.data_dir, llm=llm)
    app = real_app(chosen, embedder=embedder)
    with running(app, settings=chosen.server) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_every_engine_can_be_chatted_with():
    assert set(ENGINES) < set(CHAT_ENGINES)
    assert {"fusion", "window", "auto_merging", "sub_question", "router", "summary"} < set(ENGINES)


@pytest.mark.parametrize("mode", sorted(ENGINES))
def test_every_engine_is_served_at_every_door(http, model_server, mode):
    body = {"question": ASKED, "mode": mode, "k": 4}
    whole = http.post("/query", json=body).json()
    assert whole["answer"].endswith("[1].")
    assert 0 < len(whole["citations"]) <= 4
    assert whole["citations"][0]["cited"]
    calls_of_query = whole["engine"]["calls"]
    assert whole["usage"]["prompt_tokens"] == 11 * (calls_of_query + 1)
    assert whole["cost_usd"] > 0

    events = parse(http.post("/query/stream", json=body).text)
    assert events[0].name == "sources"
    assert ending(events).name == "done"
    assert ending(events).data["engine"] == whole["engine"]
    assert [c["node_id"] for c in events[0].data["citations"]] == [c["node_id"] for c in whole["citations"]]

    model_server.requests.clear()
    found = http.post("/retrieve", json=body).json()
    assert [c["node_id"] for c in found["results"]] == [c["node_id"] for c in whole["citations"]]
    assert len(model_server.requests) == found["engine"]["calls"]
    assert found["engine"]["calls"] == {"fusion": 1, "sub_question": 1, "router": 2}.get(mode, 0)

    chat = http.post("/chat", json={"message": ASKED, "mode": mode, "k": 4}).json()
    assert chat["answer"] == whole["answer"]
    more = {"message": "And what else?", "conversation_id": chat["conversation_id"], "mode": mode}
    model_server.script(Reply(ASKED))  # the message, made to stand alone
    assert http.post("/chat", json=more).json()["standalone_question"] == ASKED

    completion = {"model": "footnote/default", "messages": [{"role": "user", "content": ASKED}]}
    completion["footnote"] = {"mode": mode, "k": 4}
    message = http.post("/v1/chat/completions", json=completion).json()["choices"][0]["message"]
    assert message["content"] == whole["answer"]


@pytest.mark.parametrize("mode", sorted(ENGINES))
@pytest.mark.parametrize("fault", ["server-error", "cut", "no-finish"])
def test_a_model_that_fails_is_a_problem_or_one_error_event(http, model_server, mode, fault):
    model_server.default = Reply(fault=fault)
    body = {"question": ASKED, "mode": mode, "k": 2}
    assert http.post("/query", json=body).json()["type"] == "/problems/model-failed"
    response = http.post("/query/stream", json=body)
    events = parse(response.text)
    assert [event.name for event in events if event.name in {"done", "error"}] == ["error"]
    assert ending(events).data["type"] == "/problems/model-failed"


@pytest.mark.parametrize("mode", sorted(ENGINES))
def test_nothing_above_the_bar_is_said_without_an_answer_by_the_model(http, model_server, mode):
    if mode == "keyword":
        pytest.skip("words have no bar")
    model_server.default = scripted()
    answer = http.post("/query", json={"question": "quasar neutrinos", "mode": mode, "min_score": 0.97}).json()
    assert (answer["finish_reason"], answer["citations"], answer["model"]) == ("no_context", [], "none")
    asked = [str(request.body["messages"][-1]["content"]) for request in model_server.requests]
    assert not any(prompt.startswith(("Passages:", "Findings:")) for prompt in asked)
