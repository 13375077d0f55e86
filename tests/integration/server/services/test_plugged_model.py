"""A LlamaIndex LLM of a user's own behind the whole server: answers, health, and what `/ready` says."""

import concurrent.futures
import time
from collections.abc import Iterator

import httpx
import pytest
from support import plugged_llms
from support.environment import make_settings
from support.indexed import index
from support.plugged_llms import CALLS, STUBBORN
from support.scripted import running

from server.app import create_app
from server.engines.models.plug_in import asking
from server.runtime import open_runtime

TEXTS = {"rain.md": "Rain falls mainly on the plain. It stops in spring."}
QUERY = {"question": "Where does the rain fall?"}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    CALLS.clear()
    STUBBORN.clear()
    yield
    STUBBORN.set()


@pytest.fixture
async def serving(database, embedder, settings, monkeypatch):
    await index(database, embedder, TEXTS)
    monkeypatch.setattr("server.runtime.open_embedder", lambda _: embedder)
    monkeypatch.setattr(embedder, "close", lambda: None)

    def serve(name, **llm):
        given = {"class": f"{plugged_llms.__name__}.{name}", "max_retries": 0, **llm}
        dsn = settings.database.url.get_secret_value()
        return running(create_app(make_settings(dsn, settings.data_dir, llm=given), open_runtime=open_runtime))

    return serve


def test_an_answer_has_the_class_s_model_and_estimated_tokens_and_health_is_quick_beside_it(serving):
    sleepy = serving("SleepyLLM", arguments={"pause": 8.0})
    with sleepy as server, httpx.Client(base_url=server.url, timeout=30) as http:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(httpx.post, f"{server.url}/query", json=QUERY, timeout=30) for _ in range(2)]
            longest = 0.0
            while not all(each.done() for each in asked):
                before = time.monotonic()
                assert http.get("/health").status_code == 200
                longest = max(longest, time.monotonic() - before)
        answer = asked[0].result().json()
        assert "in threads" in http.get("/ready").text
    assert answer["answer"].startswith("Rain falls mainly on the plain [1].")
    assert (answer["model"], answer["usage"]["is_estimate"]) == ("sleepy", True)
    assert longest < 7  # eight seconds, if it slept on the event loop


def test_when_all_threads_are_lost_answers_are_503_and_ready_says_so(serving, monkeypatch):
    monkeypatch.setattr(asking, "GRACE", 0.0)
    slow = {"threads": 1, "token_timeout": 0.2, "total_timeout": 0.3}
    with serving("StubbornLLM", **slow) as server, httpx.Client(base_url=server.url, timeout=30) as http:
        assert http.post("/query", json=QUERY).status_code == 504
        lost = http.post("/query", json=QUERY)
        assert (lost.status_code, "do not return" in lost.json()["detail"]) == (503, True)
        assert "do not return" in http.get("/ready").text
        assert http.post("/retrieve", json=QUERY).status_code == 200
