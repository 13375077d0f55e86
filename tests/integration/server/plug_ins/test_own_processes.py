"""Plug-ins in processes of their own, behind the real server: they answer, and are stopped when they do not."""

from __future__ import annotations

import re
import threading
import time

import httpx
import pytest
from support import own_processes
from support.environment import make_settings
from support.indexed import real_app
from support.model_server import Reply
from support.scripted import running
from support.stack import until

from config.settings import EmbeddingSettings, PlugInSettings, SettingsError
from embedding.errors import EmbeddingFailed, EmbeddingUnavailable
from embedding.remote.faults import TimedOut
from embedding.remote.opening import open_remote
from server.plug_ins.opening import open_plug_ins

HERE = own_processes.__name__
PID = re.compile(r"pid (\d+)")


@pytest.fixture
def serve(stack):
    stack.fresh(default=Reply(text="It ran somewhere [1]."))
    return lambda **groups: stack.serve(retrieval={"min_score": 0}, **groups)


def own(name, **options):
    return {"class": f"{HERE}.{name}", "processes": 1, "timeout": 5, **options}


def asked(http, question, mode="away"):
    return http.post("/query", json={"question": question, "mode": mode})


def pids(answer):
    return {int(found) for each in answer.json()["citations"] for found in PID.findall(each["text"])}


def longest_look(http, while_alive):
    longest = 0.0
    while while_alive.is_alive():
        started = time.perf_counter()
        assert http.get("/health").status_code == 200
        longest = max(longest, time.perf_counter() - started)
    return longest


def test_a_retriever_is_answered_from_and_killed_when_it_holds_the_interpreter(serve):
    engines = {"away": own("ObedientRetriever", brings_passages=True, timeout=2)}
    with serve(plug_ins={"engines": engines}) as http:
        first = asked(http, "where?")
        assert first.status_code == 200, first.text
        (before,) = pids(first)
        late = []
        asking = threading.Thread(target=lambda: late.append(asked(http, "please !hold it")))
        asking.start()
        assert longest_look(http, asking) < 1
        assert (late[0].status_code, late[0].json()["type"]) == (504, "/problems/deadline-exceeded")
        told = []
        until(lambda: told.append(asked(http, "where now?")) or told[-1].status_code == 200, seconds=150)
        for unserved in told[:-1]:  # they waited for the process, and were not slow
            assert unserved.json()["type"] == "/problems/plug-in-unavailable"
            assert unserved.headers["retry-after"] == "5"
        assert pids(asked(http, "and now?")) != {before}
        assert http.get("/ready").json()["dependencies"]["plug-in away"]["ok"]


def test_a_retriever_that_crashes_or_raises_fails_that_answer_alone(serve):
    with serve(plug_ins={"engines": {"away": own("ObedientRetriever", brings_passages=True, timeout=30)}}) as http:
        crashed = asked(http, "!die")
        assert (crashed.status_code, crashed.json()["type"]) == (502, "/problems/plug-in-failed")
        assert "SIGSEGV" in crashed.json()["detail"]
        raised = asked(http, "!raise it")
        assert (raised.status_code, "ValueError" in raised.json()["detail"]) == (502, True)
        assert "hunter2" not in raised.text
        assert asked(http, "where?").status_code == 200


def test_a_postprocessor_changes_passages_from_its_process(serve):
    with serve(plug_ins={"postprocessors": [own("ObedientPostprocessor", timeout=30)]}) as http:
        answer = asked(http, "Who built the lighthouse of Ostrava Bay?", mode="hybrid")
        assert answer.status_code == 200, answer.text
        assert len(pids(answer)) == 1
        crashed = asked(http, "What does !leave the harbour?", mode="hybrid")
        assert (crashed.status_code, "exit code 3" in crashed.json()["detail"]) == (502, True)
        assert asked(http, "Who built the lighthouse?", mode="hybrid").status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_an_llm_writes_from_its_process_and_is_replaced_when_it_does_not_return(stack, stream):
    llm = {"class": f"{HERE}.ObedientLLM", "processes": 1, "token_timeout": 2, "max_retries": 0, "total_timeout": 30}

    def told(http, question):
        body = {"model": "footnote/none", "stream": stream, "messages": [{"role": "user", "content": question}]}
        return http.post("/v1/chat/completions", json=body, timeout=60)

    def served(http):
        tries = []
        until(lambda: tries.append(told(http, "where now?")) or tries[-1].status_code == 200, seconds=150)
        for unserved in tries[:-1]:  # they waited for a process, and the model was not slow
            assert unserved.status_code == 503, unserved.text

    chosen = make_settings(stack.dsn, stack.data_dir, llm=llm)
    with (
        running(real_app(chosen, embedder=stack.embedder), settings=chosen.server) as server,
        httpx.Client(base_url=server.url) as http,
    ):
        first = told(http, "where?")
        assert first.status_code == 200, first.text
        assert PID.search("".join(re.findall(r'"content":\s?"([^"]*)"', first.text)))
        assert "SIGSEGV" in told(http, "!die").text
        served(http)
        if stream:  # of a whole answer silence is no sign of a failure
            assert "deadline-exceeded" in told(http, "please !hold it").text
            served(http)


async def served(ask):
    """Ask until there is a process; who waits for one is told that there is none, not that it is slow."""
    while True:
        try:
            return await ask()
        except EmbeddingUnavailable as exc:
            assert not isinstance(exc, TimedOut)  # noqa: PT017 (any other is waited out)


async def test_an_embedding_model_answers_from_its_process_and_is_replaced():
    settings = EmbeddingSettings(
        **{"class": f"{HERE}.ObedientEmbedding", "processes": 1, "max_retries": 0, "timeout": 3}
    )
    model = open_remote(settings)
    try:
        vectors = await model.texts(["one", "four"])
        assert vectors.shape == (2, 3)
        with pytest.raises(EmbeddingFailed, match="SIGSEGV"):
            await model.texts(["!die"])
        assert (await served(lambda: model.query("where?"))).shape == (3,)
        with pytest.raises(Exception, match=r"did not answer within 3 s|is being replaced"):
            await model.texts(["!hold"])
        assert (await served(lambda: model.texts(["again"]))).shape == (1, 3)
    finally:
        model.close()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"engines": {"x": own("building")}}, "only retrievers and postprocessors can have `processes`"),
        ({"guards": [own("Guarding")]}, "only retrievers and postprocessors can have `processes`"),
        ({"engines": {"x": own("ObedientRetriever", arguments={"nonsense": 1})}}, "nonsense"),
        ({"engines": {"x": own("DyingRetriever")}}, "exit code 3"),
    ],
)
def test_what_cannot_be_made_in_a_process_is_refused_at_the_start(settings, said):
    with pytest.raises(SettingsError, match=said):
        open_plug_ins(PlugInSettings(**settings))
