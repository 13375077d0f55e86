"""What a model thinks, and what it does not say, through every door of a real server."""

from __future__ import annotations

import json
from contextlib import contextmanager

import httpx
import pytest
from support.environment import make_settings
from support.events import ending, parse
from support.indexed import index, real_app
from support.model_server import Reply, start_model_server
from support.scripted import running

ASKED = "Who built the lighthouse of Ostrava Bay?"
SAID = "Milada Novak [1]."
THOUGHTS = {
    "think": f"<think>\nPassage 2 [2]? No.\n</think>\n\n{SAID}",
    "thinking": f"<thinking>Passage 2 [2]? No.</thinking> {SAID}",
    "not opened": f"Passage 2 [2]? No.\n</think>\n\n{SAID}",
    "twice": f"<think>Passage 2 [2]?</think><think>No.</think>{SAID}",
    "not closed": f"{SAID}\n<think>Or passage 2 [2]?",
}
thoughts = pytest.mark.parametrize("written", THOUGHTS.values(), ids=THOUGHTS)


@pytest.fixture(scope="module")
def model_server():
    with start_model_server() as server:
        yield server


@pytest.fixture
async def start(database, embedder, settings, model_server):
    """Return a function that serves the application with the scripted model."""
    model_server.requests.clear()
    model_server.default = Reply(SAID)
    await index(database, embedder)

    @contextmanager
    def serve(**groups):
        llm = {"provider": "openai_like", "base_url": model_server.openai_url, "api_key": "k", "model": "m"}
        llm |= {"max_retries": 0, **groups.pop("llm", {})}
        chosen = make_settings(settings.database.url.get_secret_value(), settings.data_dir, llm=llm, **groups)
        app = real_app(chosen, embedder=embedder)
        with running(app, settings=chosen.server) as server, httpx.Client(base_url=server.url, timeout=30) as http:
            yield http

    return serve


def tokens(events):
    """Return a stream's text as a client has it at the end."""
    text = ""
    for event in events:
        if event.name == "token":
            text += event.data["token"]
        elif event.name == "reasoning" and event.data.get("retracts"):
            text = ""
    return text


def completion(http, **more):
    return http.post(
        "/v1/chat/completions",
        json={"model": "footnote/default", "messages": [{"role": "user", "content": ASKED}], **more},
    )


@thoughts
def test_no_answer_has_what_the_model_thought(start, model_server, written):
    model_server.default = Reply(written)
    with start() as http:
        events = parse(http.post("/query/stream", json={"question": ASKED}).text)
        whole = http.post("/query", json={"question": ASKED}).json()
        chat = http.post("/chat", json={"message": ASKED}).json()
        kept = http.get(f"/conversations/{chat['conversation_id']}").json()["messages"]
        simple = http.post("/chat", json={"message": ASKED, "mode": "simple"}).json()
        openai = completion(http).json()
        chunks = completion(http, stream=True).text
    assert tokens(events).strip() == SAID
    assert ending(events).data["cited"] == [1]
    assert {whole["answer"], chat["answer"], kept[1]["content"]} == {SAID}
    assert simple["answer"] == "Milada Novak."  # there are no passages
    assert openai["choices"][0]["message"]["content"] == SAID
    for citations in (whole["citations"], chat["citations"], kept[1]["citations"]):
        assert [each["id"] for each in citations if each["cited"]] == [1]
    assert whole["usage"]["completion_tokens"] == len(written.split(" "))  # thinking is paid for
    deltas = [json.loads(line[6:]) for line in chunks.splitlines() if line.startswith("data: {")]
    text = "".join(each["choices"][0]["delta"].get("content") or "" for each in deltas if each["choices"])
    assert text.strip() == SAID  # it is known by now whether the model opens its reasoning
    assert not any("reasoning_content" in each["choices"][0]["delta"] for each in deltas if each["choices"])


@thoughts
def test_what_is_searched_for_and_remembered_has_no_thoughts(start, model_server, written):
    with start(chat={"history_tokens": 64, "summary": True}) as http:
        model_server.script(Reply(SAID))
        chat = http.post("/chat", json={"message": ASKED}).json()
        model_server.script(Reply(written), Reply(written))
        model_server.default = Reply(written)
        more = {"message": "And when?", "conversation_id": chat["conversation_id"]}
        second = http.post("/chat", json=more).json()
        assert second["standalone_question"] == SAID
        assert second["answer"] == SAID
        assert http.post("/chat", json=more).json()["answer"] == SAID
    asked = json.dumps([request.body for request in model_server.requests])
    assert "think" not in asked.replace("I think", "")


@pytest.mark.parametrize("mode", ["fusion", "sub_question", "router", "summary", "agent"])
def test_engines_read_replies_without_thoughts(start, model_server, mode):
    def written(prompt):
        if prompt.startswith("The question:"):
            said = '["Who built the tower?", "Where is the bay?"]'
        elif prompt.startswith("Some choices"):
            said = '{"choice": 1}'
        else:
            said = SAID
        return '<think>["[2]"] {"choice": 3} Action: search\nAnswer: 7 [2]</think>\n' + (
            f"Thought: I can answer.\nAnswer: {said}" if mode == "agent" else said
        )

    model_server.default = Reply(written)
    with start() as http:
        path, field = ("/chat", "message") if mode == "agent" else ("/query", "question")
        answer = http.post(path, json={field: ASKED, "mode": mode, "k": 4}).json()
    assert answer["answer"].replace(" [1]", "").startswith("Milada Novak")
    assert "7" not in answer["answer"]
    if mode in ("fusion", "sub_question"):
        assert answer["engine"]["queries"] == ["Who built the tower?", "Where is the bay?"]
    assert not any("think" in str(request.body) for request in model_server.requests)


def test_a_model_that_ranks_passages_may_think_first(start, model_server):
    ranked, scores = "Doc: 1, Relevance: 9\nDoc: 2, Relevance: 2", []
    with start(rerank={"provider": "llm"}) as http:
        for thought in ("", "<think>\nDoc: 2, Relevance: 10\nDoc: 1, Relevance: 0\n</think>\n"):
            model_server.default = Reply(lambda prompt, said=thought + ranked: said if "Relevance" in prompt else SAID)
            answer = http.post("/query", json={"question": ASKED, "rerank": True, "min_score": 0}).json()
            assert answer["rerank"]["applied"] is True
            scores.append([(each["source"], each["scores"].get("rerank")) for each in answer["citations"]])
    assert scores[0] == scores[1]
    assert len(scores[0]) > 1


@pytest.mark.parametrize("reply", [Reply(THOUGHTS["think"]), Reply(SAID, reasoning="Passage 2 [2]? No.")])
def test_thoughts_are_events_where_the_settings_say_so(start, model_server, reply):
    model_server.default = reply
    with start(llm={"reasoning": "show"}) as http:
        for path, field in (("/query/stream", "question"), ("/chat/stream", "message")):
            events = parse(http.post(path, json={field: ASKED}).text)
            thought = "".join(event.data["reasoning"] for event in events if event.name == "reasoning")
            assert thought.replace(" ", "").strip() == "Passage2[2]?No."
            assert tokens(events).strip() == SAID
            assert ending(events).data["cited"] == [1]
        assert http.post("/query", json={"question": ASKED}).json()["answer"] == SAID
        chunks = completion(http, stream=True).text
    deltas = [json.loads(line[6:]) for line in chunks.splitlines() if line.startswith("data: {")]
    said = "".join(each["choices"][0]["delta"].get("reasoning_content", "") for each in deltas if each["choices"])
    assert said.replace(" ", "").strip() == "Passage2[2]?No."


def test_a_stream_takes_back_what_turns_out_to_be_reasoning_until_it_does_so_each_time(start, model_server):
    def retracted():
        events = parse(http.post("/query/stream", json={"question": ASKED}).text)
        assert tokens(events).strip() == SAID
        return [event.data for event in events if event.name == "reasoning"]

    with start() as http:
        for _ in range(2):
            model_server.default = Reply(THOUGHTS["not opened"])
            assert [retracted() for _ in range(2)] == [[{"reasoning": "", "retracts": True}]] * 2
            model_server.default = Reply(SAID)
            assert retracted() == []
        model_server.default = Reply(THOUGHTS["not opened"])
        assert [bool(retracted()) for _ in range(5)] == [True, True, True, False, False]


def test_one_answer_with_a_stray_tag_changes_no_other(start, model_server):
    with start() as http:
        for written in [THOUGHTS["not opened"]] * 4:
            model_server.default = Reply(written)
            assert http.post("/query", json={"question": ASKED}).json()["answer"] == SAID
        for kept in (SAID, f"`</think>` ends it.\n```\n</think>\n```\n{SAID}"):  # the first is held back
            model_server.default = Reply(kept, finish_reason="length")
            cut = http.post("/query", json={"question": ASKED})
            assert (cut.status_code, cut.json()["answer"], cut.json()["finish_reason"]) == (200, kept, "length")
        for written in [THOUGHTS["not opened"]] * 3:
            model_server.default = Reply(written)
            http.post("/query", json={"question": ASKED})
        model_server.default = Reply(f"`</think>` ends it.\n```\n</think>\n```\n{SAID}")
        assert http.post("/query", json={"question": ASKED}).json()["answer"].startswith("`</think>` ends it.")


EMPTY = {
    "nothing": Reply(""),
    "blank": Reply(" \n\n "),
    "zero-width": Reply("\u200b \ufeff\u2060"),
    "thoughts alone": Reply("<think>Hm.</think>\n"),
    "thoughts without end": Reply("<think>Hm. So", finish_reason="length"),
    "a passage that there is not": Reply(" [99]"),
}


@pytest.mark.parametrize("empty", EMPTY.values(), ids=EMPTY)
def test_an_empty_answer_is_a_failure_at_every_door(start, model_server, empty):
    model_server.default = empty
    with start() as http:
        whole = http.post("/query", json={"question": ASKED})
        streamed = parse(http.post("/query/stream", json={"question": ASKED}).text)
        chat = http.post("/chat", json={"message": ASKED})
        told = parse(http.post("/chat/stream", json={"message": ASKED}).text)
        openai = completion(http)
        chunks = completion(http, stream=True).text
        kept = http.get(f"/conversations/{told[0].data['conversation_id']}").json()["messages"]
        model_server.default = Reply(SAID)
        more = {"message": ASKED, "conversation_id": told[0].data["conversation_id"]}
        assert http.post("/chat", json=more).json()["answer"] == SAID
    for response in (whole, chat):
        assert (response.status_code, response.json()["type"]) == (502, "/problems/model-failed")
        assert "max_tokens" in response.json()["detail"] if empty.finish_reason == "length" else True
    for events in (streamed, told):
        assert events[0].name == "sources"
        assert ending(events).name == "error"
        assert ending(events).data["type"] == "/problems/model-failed"
    assert (kept[1]["state"], kept[1]["problem"]) == ("failed", "model-failed")
    assert openai.status_code == 502
    assert '"error"' in chunks
    assert '"finish_reason":"stop"' not in chunks


def test_an_empty_answer_is_asked_for_again(start, model_server):
    model_server.script(Reply(""), Reply(SAID))
    with start(llm={"max_retries": 1}) as http:
        assert http.post("/query", json={"question": ASKED}).json()["answer"] == SAID
    assert len(model_server.requests) == 2


def test_a_follow_up_that_the_model_does_not_rewrite_is_searched_for_as_it_is(start, model_server):
    with start() as http:
        chat = http.post("/chat", json={"message": ASKED}).json()
        model_server.script(Reply("<think>Hm.</think>"), Reply(SAID))
        more = {"message": "When was the lighthouse built?", "conversation_id": chat["conversation_id"]}
        answer = http.post("/chat", json=more).json()
    assert (answer["standalone_question"], answer["answer"]) == ("When was the lighthouse built?", SAID)
    assert answer["usage"]["completion_tokens"] == 1 + len(SAID.split())
