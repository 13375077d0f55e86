"""Plug-ins that are badly written: they fail alone, in time, and by name."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time

import pytest
from support.events import ending
from support.indexed import TEXTS
from support.model_server import Reply
from support.plug_ins import BAD, installed
from support.stack import texts, until

LIGHTHOUSE = "lighthouse.md"


@pytest.fixture(scope="module")
def packages():
    with installed(BAD) as folder:
        yield folder


@pytest.fixture
def served(stack, packages):  # noqa: ARG001 (they are installed)
    stack.fresh(default=Reply(text="Milada Novak built it [1]."))

    def serve(**plug_ins):
        return stack.serve(plug_ins=plug_ins, retrieval={"min_score": 0})

    return serve


def engine(name, **options):
    return {"bad": {"class": f"footnote_bad.{name}", **options}}


def asked(http, question, path="/query", mode="bad", **body):
    key = "message" if path == "/chat" else "question"
    return http.post(path, json={key: question, "mode": mode, **body})


@pytest.mark.parametrize("name", ["Misbehaving", "AsyncMisbehaving"])
@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ("raise", "it raised ZeroDivisionError"),
        ("secret", "it raised ValueError"),
        ("exit", "it raised SystemExit;"),
        ("cancel", "it raised CancelledError;"),
        ("stop", "it raised StopIteration;"),
        ("late", "it raised TimeoutError"),
        ("interrupt", "it raised KeyboardInterrupt;"),
        ("nodes", "it returned str where NodeWithScore in a list is due"),
        ("dict", "it returned dict"),
        ("empty", "an empty str"),
        ("blank", "an empty str"),
        ("unheard of", "it raised KeyError"),
    ],
)
def test_whatever_an_engine_raises_or_returns_is_a_502_that_names_it(served, name, wish, said):
    with served(engines=engine(f"engines.{name}")) as http:
        failed = asked(http, wish)
        assert (failed.status_code, failed.json()["type"]) == (502, "/problems/plug-in-failed"), failed.text
        assert failed.json()["detail"].startswith("the plug-in 'bad' failed: ")
        assert said in failed.json()["detail"]
        assert "hunter2" not in failed.text
        assert http.get("/health").status_code == 200
        assert asked(http, "Who built the lighthouse?", mode="hybrid").status_code == 200


def test_what_is_not_implemented_is_a_422(served):
    with served(engines=engine("engines.Misbehaving")) as http:
        assert asked(http, "unable").status_code == 422


def test_a_synchronous_stream_is_streamed_and_fails_as_one(served):
    with served(engines=engine("engines.Misbehaving")) as http:
        events = http.events("/query/stream", {"question": "slow pieces", "mode": "bad"})
        assert texts(events) == "one two three"
        assert [event.name for event in events].count("token") > 1
        broken = http.events("/query/stream", {"question": "broken pieces", "mode": "bad"})
        assert ending(broken).name == "error"
        assert "plug-in-failed" in json.dumps(ending(broken).data)


def test_a_plug_in_that_sleeps_holds_nothing_but_its_own_threads(served):
    slow = engine("engines.Sleeper", arguments={"seconds": 4})
    slow["wait"] = {"class": "footnote_bad.retrievers.SleepingRetriever", "arguments": {"seconds": 4}}
    with served(engines=slow) as http:
        modes = ["bad", "wait"]
        asking = [threading.Thread(target=asked, args=(http, "hello", "/query", mode)) for mode in modes]
        for each in asking:
            each.start()
        longest, rounds = 0.0, 0
        while any(each.is_alive() for each in asking):
            started = time.perf_counter()
            assert http.get("/health").status_code == 200
            longest, rounds = max(longest, time.perf_counter() - started), rounds + 1
        assert rounds > 20
        assert longest < 3  # of the 4 that it would be held for; the benchmark measures it


def test_threads_that_do_not_return_are_counted_and_then_the_plug_in_is_unavailable(served):
    stuck = engine("engines.Sleeper", arguments={"seconds": 12}, timeout=0.3, threads=2)
    with served(engines=stuck) as http:
        for _ in range(2):
            late = asked(http, "hello")
            assert (late.status_code, late.json()["type"]) == (504, "/problems/deadline-exceeded")
            assert "the plug-in 'bad' took longer than 0.3 seconds" in late.json()["detail"]
        lost = asked(http, "hello")
        assert (lost.status_code, lost.json()["type"]) == (503, "/problems/plug-in-unavailable")
        state = http.get("/ready").json()["dependencies"]["plug-in bad"]
        assert not state["ok"]
        assert "all 2 threads of bad" in state["detail"]
        assert http.get("/ready").status_code == 200  # the others answer
        until(lambda: http.get("/ready").json()["dependencies"]["plug-in bad"]["ok"], seconds=30)


def test_a_postprocessor_that_is_lost_makes_the_server_not_ready(served):
    hung = [
        {"class": "footnote_bad.others.BadPostprocessor", "arguments": {"how": "sleep"}, "timeout": 0.2, "threads": 1}
    ]
    with served(postprocessors=hung) as http:
        assert asked(http, "Who built the lighthouse?", mode="hybrid").status_code == 504
        assert asked(http, "Who built the lighthouse?", mode="hybrid").status_code == 503
        assert http.get("/ready").status_code == 503


@pytest.mark.parametrize(("how", "said"), [("raise", "ValueError"), ("none", "NoneType")])
def test_a_postprocessor_that_fails_fails_the_answer(served, how, said):
    bad = [{"class": "footnote_bad.others.BadPostprocessor", "arguments": {"how": how}}]
    with served(postprocessors=bad) as http:
        failed = asked(http, "Who built the lighthouse?", mode="hybrid")
        assert failed.status_code == 502
        assert said in failed.json()["detail"]
        assert asked(http, "Who built the lighthouse?", "/chat", mode="hybrid").status_code == 502


def test_a_postprocessor_brings_no_passages_of_its_own(served):
    bad = [{"class": "footnote_bad.others.BadPostprocessor", "arguments": {"how": "foreign"}}]
    with served(postprocessors=bad) as http:
        found = asked(http, "Who built the lighthouse?", "/retrieve", mode="hybrid").json()
        assert "made up" not in json.dumps(found)
        assert found["results"]


@pytest.mark.parametrize(("how", "said"), [("raise", "ValueError"), ("number", "it returned int")])
def test_a_guard_that_fails_lets_nothing_pass(served, stack, how, said):
    with served(guards=[{"class": "footnote_bad.others.BadGuard", "arguments": {"how": how}}]) as http:
        failed = asked(http, "Who built the lighthouse?", mode="hybrid")
        assert failed.status_code == 502
        assert said in failed.json()["detail"]
        assert asked(http, "Who?", "/chat", mode="hybrid").status_code == 502
    assert not stack.model.requests


@pytest.mark.parametrize("path", ["/query", "/retrieve", "/chat"])
@pytest.mark.parametrize("mode", ["hybrid", "keyword"])
def test_a_question_that_a_guard_makes_unfit_to_be_searched_for_is_cleaned(served, path, mode):
    with served(guards=[{"class": "footnote_bad.others.BadGuard", "arguments": {"how": "nul"}}]) as http:
        assert asked(http, "Who built the lighthouse?", path, mode=mode).status_code == 200


def test_a_chat_engine_that_returns_something_else_is_named(served):
    with served(chat_engines=engine("engines.WrongChat")) as http:
        assert asked(http, "right", "/chat").json()["answer"] == "x"
        wrong = asked(http, "wrong", "/chat")
        assert wrong.status_code == 502
        assert "a chat response" in wrong.json()["detail"]


def test_a_function_that_builds_something_else_is_named(served):
    with served(engines=engine("engines.builds_nothing")) as http:
        assert "it returned dict where a BaseQueryEngine is due" in asked(http, "hello").json()["detail"]


def test_forged_passages_are_left_out_or_shown_as_stored(served):
    stored = hashlib.sha256(LIGHTHOUSE.encode()).hexdigest()
    nodes = [[stored, "It was built by me."], ["no-such-id", "The secret of another tenant."], ["\0", "nul"]]
    forger = engine("retrievers.Forger", arguments={"nodes": nodes})
    with served(engines=forger) as http:
        found = asked(http, "Who?", "/retrieve").raise_for_status().json()
        assert [each["text"] for each in found["results"]] == [TEXTS[LIGHTHOUSE]]
        assert "2 passages of the plug-in 'bad' left out" in found["engine"]["notes"][0]
    forger["bad"]["brings_passages"] = True
    with served(engines=forger) as http:
        found = asked(http, "Who?", "/retrieve").raise_for_status().json()
        own = [each for each in found["results"] if each["text"] != TEXTS[LIGHTHOUSE]]
        assert {each["source"] for each in own} == {"plug-in:bad"}
        assert {each["document_id"] for each in own} == {""}
        assert own[0]["metadata"]["origin"] == LIGHTHOUSE


DOORS = ("/query", "/retrieve", "/chat", "/query/stream", "/v1/chat/completions")


def at_door(http, path, question="Who?", mode="bad"):
    """Return everything that a door says to a question, which it answers."""
    if path.startswith("/v1"):
        body = {"model": "footnote/default", "messages": [{"role": "user", "content": question}]}
        return http.post(path, json={**body, "footnote": {"mode": mode}}).raise_for_status().text
    if path.endswith("stream"):
        events = http.events(path, {"question": question, "mode": mode})
        assert ending(events).name == "done"
        return json.dumps([event.data for event in events])
    return asked(http, question, path, mode=mode).raise_for_status().text


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("what", ["nul", "deep", "itself", "huge"])
def test_a_passage_that_can_neither_be_sent_nor_kept_as_it_is_is_cleaned(served, what, path):
    odd = engine("retrievers.Odd", arguments={"what": what}, brings_passages=True)
    with served(engines=odd) as http:
        said = at_door(http, path)
        assert "\\u0000" not in said
        assert "\\ud800" not in said
        assert ("Monday" if what == "nul" else "keeps its light on") in said or path.startswith("/v1")


@pytest.mark.parametrize("path", ["/query", "/retrieve", "/chat"])
def test_a_passage_that_cannot_be_read_is_the_plug_in_s_failure(served, path):
    odd = engine("retrievers.Odd", arguments={"what": "raises"}, brings_passages=True)
    with served(engines=odd) as http:
        failed = asked(http, "Who?", path)
        assert (failed.status_code, failed.json()["type"]) == (502, "/problems/plug-in-failed"), failed.text
        assert "it raised ZeroDivisionError" in failed.json()["detail"]


@pytest.mark.parametrize("what", ["blank", "image"])
def test_passages_without_a_word_are_nothing_found(served, stack, what):
    with served(engines=engine("retrievers.Odd", arguments={"what": what}, brings_passages=True)) as http:
        whole = asked(http, "Who?").raise_for_status().json()
        assert (whole["finish_reason"], whole["citations"]) == ("no_context", [])
        assert "of the plug-in 'bad' left out: without a word" in " ".join(whole["engine"]["notes"])
        assert asked(http, "Who?", "/retrieve").json()["results"] == []
        assert asked(http, "Who?", "/chat").json()["finish_reason"] == "no_context"
    assert not stack.model.requests


@pytest.mark.parametrize("path", ["/query", "/chat", "/query/stream"])
def test_an_engine_s_answer_that_can_neither_be_sent_nor_kept_as_it_is_is_cleaned(served, path):
    with served(engines=engine("engines.Misbehaving")) as http:
        said = at_door(http, path, "nul")
        assert "Monday" in said
        assert "\\u0000" not in said


def meddled(served, how, **body):
    """Return what /retrieve finds before and after a postprocessor that makes too much of it."""
    found = []
    for list_ in ([], [{"class": "footnote_bad.others.Meddler", "arguments": {"how": how}}]):
        with served(postprocessors=list_) as http:
            answer = asked(http, "Who built the lighthouse?", "/retrieve", mode="hybrid", **body)
            found.append(answer.raise_for_status().json())
    return found


@pytest.mark.parametrize("how", ["metadata", "another"])
def test_a_postprocessor_changes_no_source_heading_place_or_metadata(served, how):
    before, after = (found["results"] for found in meddled(served, how))
    scores = [each.pop("score") for each in after]
    assert after == [{name: value for name, value in each.items() if name != "score"} for each in before]
    assert (scores[0] == 5.0) == (how == "another")


def test_a_passage_counts_once_however_often_a_postprocessor_returns_it(served):
    before, after = meddled(served, "twice", k=2)
    assert [each["node_id"] for each in after["results"]] == [each["node_id"] for each in before["results"]]


@pytest.mark.parametrize(("how", "place"), [("window", (0, 0)), ("part", (4, 20)), ("nul", (0, 0))])
def test_a_changed_text_has_offsets_only_where_it_is_the_document_s(served, how, place):
    before, after = (found["results"][0] for found in meddled(served, how))
    assert before["start"] == 0
    assert (after["start"], after["end"]) == place
    assert after["text"] != before["text"]
    assert "\0" not in after["text"]
    if how == "part":
        assert after["text"] == before["text"][4:20]
    same = set(before) - {"text", "start", "end"}
    assert {name: after[name] for name in same} == {name: before[name] for name in same}


def test_a_postprocessor_that_empties_passages_leaves_them_out(served, stack):
    with served(postprocessors=[{"class": "footnote_bad.others.Meddler", "arguments": {"how": "blank"}}]) as http:
        whole = asked(http, "Who built the lighthouse?", mode="hybrid").raise_for_status().json()
        assert (whole["finish_reason"], whole["citations"]) == ("no_context", [])
    assert not stack.model.requests


def test_a_retriever_of_wrong_types_is_named(served):
    with served(engines=engine("retrievers.WrongTypes")) as http:
        assert asked(http, "Who?", "/retrieve").status_code == 502


async def test_asyncio_is_not_told_to_stop(served):
    loop = asyncio.get_running_loop()
    with served(engines=engine("engines.AsyncMisbehaving")) as http:
        assert (await asyncio.to_thread(asked, http, "interrupt")).status_code == 502
    assert loop.is_running()
