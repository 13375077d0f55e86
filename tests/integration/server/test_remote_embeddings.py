"""Remote embedding models behind the real server and the real ingestion: named, priced, lost, changed."""

import asyncio
import json

import httpx
import numpy as np
import pytest
from support.embedding_server import Fault, listening, start_embedding_server
from support.environment import make_settings
from support.ingestion_command import run_ingestion
from support.scripted import running

import embedding.remote.embedder
import embedding.remote.patience
from embedding.errors import EmbeddingUnavailable
from server.app import create_app
from server.runtime import open_runtime
from storage.errors import EmbeddingMismatch, InvalidCollection

LIGHTHOUSE = "The lighthouse of Ostrava Bay was built in 1871 by the engineer Milada Novak."
BREAD = "Sourdough bread rises for twelve hours before it is baked at 230 degrees."


@pytest.fixture
def server():
    with start_embedding_server() as started:
        yield started


@pytest.fixture
def other():
    with start_embedding_server() as started:
        started.dimension, started.seed = 24, 7
        yield started


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(embedding.remote.patience, "FIRST_PAUSE", 0.01)


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "lighthouse.md").write_text(LIGHTHOUSE)
    (folder / "bread.md").write_text(BREAD)
    return folder


@pytest.fixture
def chosen(settings, server, other):
    def make(**changes):
        first = {
            "provider": "openai_like",
            "base_url": server.openai_url,
            "model": "first",
            "max_retries": 0,
            **changes,
        }
        second = {"provider": "ollama", "base_url": other.ollama_url, "model": "second"}
        made = make_settings(settings.database.url.get_secret_value(), settings.data_dir)
        return type(made)(
            **{
                **made.model_dump(exclude={"embedding", "embeddings", "llm"}),
                "embedding": first,
                "embeddings": {"other": second},
                "llm": {"provider": "extractive", "prices": {"first": {"input": 2.0, "output": 0}}},
            }
        )

    return make


async def test_an_ingestion_tells_before_and_after_what_it_costs_and_pays_nothing_twice(chosen, server, docs):
    plan = (await run_ingestion(chosen(), docs, "--dry-run")).as_json()
    assert plan["estimate"]["cost_usd"]["likely"] > 0
    server.requests.clear()
    report = (await run_ingestion(chosen(), docs)).as_json()
    words = len((LIGHTHOUSE + " " + BREAD).split()) + 2  # and the titles
    assert report["documents"]["added"] == 2
    assert words - 2 <= report["embedded_tokens"] <= words + 4
    assert report["embedding_usd"] == pytest.approx(2 * report["embedded_tokens"] / 1e6)
    server.requests.clear()
    server.noise = 0.01  # no two answers of some servers are quite the same
    again = (await run_ingestion(chosen(), "--reindex", "--activate", "always")).as_json()
    assert again["build"]["activated"]
    assert server.texts == []
    assert again["embedded_tokens"] == 0


async def test_a_server_that_fails_stops_the_run_and_the_next_one_goes_on(chosen, server, docs):
    await run_ingestion(chosen(), docs / "bread.md")
    server.always = Fault(status=503)
    with pytest.raises(EmbeddingUnavailable, match="503"):
        await run_ingestion(chosen(dimensions=32), docs)
    server.always = None
    assert (await run_ingestion(chosen(), docs)).as_json()["documents"]["added"] == 1


async def test_another_model_behind_the_same_name_is_refused_at_ingestion(chosen, server, docs):
    await run_ingestion(chosen(), docs / "bread.md")
    server.seed = 2
    with pytest.raises(EmbeddingMismatch, match="another model answers under its name"):
        await run_ingestion(chosen(), docs)
    server.requests.clear()
    assert (await run_ingestion(chosen(), "--reindex", docs)).as_json()["build"]["activated"]
    assert len(server.texts) == 2  # no vector of the other model is taken over
    assert (await run_ingestion(chosen(), docs)).exit_code == 0


async def test_a_document_whose_text_is_refused_fails_alone(chosen, server, docs):
    server.most_characters = 100
    (docs / "bread.md").write_text(BREAD * 3)
    report = (await run_ingestion(chosen(), docs)).as_json()
    assert report["documents"] | {"added": 1, "failed": 1} == report["documents"]
    assert "too long" in report["failed"][0]["reason"]


async def test_a_collection_keeps_the_model_that_it_was_made_with(chosen, server, other, docs):
    settings = chosen()
    await run_ingestion(settings, docs, "--collection", "second", "--embedding", "other")
    assert server.texts == []
    assert len(other.texts) == 2
    (docs / "new.md").write_text("Autovacuum removes dead rows.")
    await run_ingestion(settings, docs, "--collection", "second")
    assert len(other.texts) == 3
    await run_ingestion(settings, "--reindex", "--collection", "second")
    assert server.texts == []
    with pytest.raises(EmbeddingMismatch):
        await run_ingestion(settings, docs, "--collection", "second", "--embedding", "default")
    with pytest.raises(InvalidCollection, match="'nobody'; the settings name: default, other"):
        await run_ingestion(settings, docs, "--collection", "third", "--embedding", "nobody")
    await run_ingestion(settings, "--reindex", "--collection", "second", "--embedding", "default")
    assert len(server.texts) == 3


def test_collections_with_different_models_are_served_at_once(chosen, server, other, docs):
    settings = chosen()
    with running(create_app(settings, open_runtime=open_runtime)) as served:
        http = httpx.Client(base_url=served.url, timeout=30)
        made = http.post("/collections", json={"name": "second", "embedding": "other"})
        assert (made.status_code, made.json()["embedding_model"], made.json()["dimension"]) == (201, "second", 24)
        assert http.post("/collections", json={"name": "third", "embedding": "nobody"}).status_code == 422
        asyncio.run(run_ingestion(settings, docs))
        asyncio.run(run_ingestion(settings, docs, "--collection", "second"))
        for collection in ("default", "second"):
            found = http.post(
                "/retrieve", json={"question": "built lighthouse engineer", "collection": collection, "mode": "vector"}
            )
            assert found.status_code == 200, found.text
            assert found.json()["results"][0]["text"] == LIGHTHOUSE
        assert server.requests[-1]["input"] == ["built lighthouse engineer"]
        assert other.requests[-1]["input"] == ["built lighthouse engineer"]
        state = http.get("/ready").json()
        assert json.dumps(state).count('"ok": false') == json.dumps(state).count('"ok":false') == 0


def test_texts_are_embedded_with_any_model_that_the_settings_name(chosen, server, other):
    with running(create_app(chosen(), open_runtime=open_runtime)) as served:
        http = httpx.Client(base_url=f"{served.url}/v1", timeout=30)
        listed = [model["id"] for model in http.get("/models").json()["data"]]
        assert listed[-2:] == ["first", "other"]
        assert http.get("/models/other").json()["id"] == "other"
        assert other.requests == []  # it is opened when it is asked for
        other.always = Fault(status=500)
        failed = http.post("/embeddings", json={"model": "other", "input": BREAD})
        assert (failed.status_code, failed.json()["error"]["code"]) == (503, "model-unavailable")
        assert http.post("/embeddings", json={"model": "first", "input": BREAD}).status_code == 200
        other.always = None
        for name, model in (("other", other), ("first", server)):
            made = http.post("/embeddings", json={"model": name, "input": [BREAD, LIGHTHOUSE]}).json()
            assert (made["model"], len(made["data"][0]["embedding"])) == (name, model.dimension)
            wanted = np.array(model.vector(BREAD))
            np.testing.assert_allclose(made["data"][0]["embedding"], wanted / np.linalg.norm(wanted), atol=1e-5)
        refused = http.post("/embeddings", json={"model": "other", "input": "x", "dimensions": 32})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "dimensions")
        for nobody in ("second", "default", "nobody"):  # a provider's name, the settings' group, none
            refused = http.post("/embeddings", json={"model": nobody, "input": "x"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
            assert "'first' and 'other'" in refused.json()["error"]["message"]


def test_the_details_of_ready_say_how_slow_an_embedding_server_is(chosen, server):
    with running(create_app(chosen(timeout=0.5), open_runtime=open_runtime)) as served:
        http = httpx.Client(base_url=served.url, timeout=30)
        server.script(Fault(delay=1))
        assert http.post("/v1/embeddings", json={"model": "first", "input": [BREAD] * 8}).status_code == 200
        state = http.get("/ready").json()
        assert "first is slow: " in json.dumps(state)


def test_a_question_while_the_embedding_server_is_down_is_a_503_with_its_reason(chosen, server, docs):
    settings = chosen(dimensions=32)
    asyncio.run(run_ingestion(settings, docs))
    asked = {"question": "who built the lighthouse", "mode": "hybrid"}
    with running(create_app(settings, open_runtime=open_runtime)) as served:
        http = httpx.Client(base_url=served.url, timeout=30)
        assert http.post("/retrieve", json=asked).status_code == 200
        server.always = Fault(status=500)
        failed = http.post("/query", json={**asked, "question": "who baked the bread"})
        assert (failed.status_code, failed.json()["type"].rpartition("/")[2]) == (503, "model-unavailable")
        assert "the embedding server failed with status 500" in failed.json()["detail"]
        assert http.post("/query", json={**asked, "question": "x y", "mode": "keyword"}).status_code == 200
        made = http.post("/collections", json={"name": "later"})
        assert made.status_code in {201, 503}, made.text
        ready = http.get("/ready")
        assert ready.status_code == 200
        assert "status 500" in ready.text
        server.always = None
        assert http.post("/query", json={**asked, "question": "who baked the bread"}).status_code == 200
        assert "status 500" not in http.get("/ready").text


def test_a_server_starts_before_its_embedding_server_and_answers_once_it_is_there(chosen, docs):
    with start_embedding_server() as late:
        settings = chosen(base_url=late.openai_url, dimensions=32)
        asyncio.run(run_ingestion(settings, docs))
    asked = {"question": "who built the lighthouse", "mode": "hybrid"}
    with running(create_app(settings, open_runtime=open_runtime)) as served:
        http = httpx.Client(base_url=served.url, timeout=30)
        failed = http.post("/retrieve", json=asked)
        assert failed.status_code == 503
        assert "cannot be reached" in failed.json()["detail"]
        with listening(late):
            for _ in range(100):
                answer = http.post("/retrieve", json=asked)
                if answer.status_code == 200:
                    break
                asyncio.run(asyncio.sleep(0.1))
            assert answer.status_code == 200, answer.text


def test_another_model_behind_the_same_name_is_refused_by_the_server(chosen, server, docs):
    settings = chosen()
    asyncio.run(run_ingestion(settings, docs))
    server.seed = 2
    with running(create_app(settings, open_runtime=open_runtime)) as served:
        http = httpx.Client(base_url=served.url, timeout=30)
        refused = http.post("/retrieve", json={"question": "who built the lighthouse"})
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (409, "embedding-mismatch")
        assert "another model answers under its name" in refused.json()["detail"]
        asyncio.run(run_ingestion(settings, "--reindex"))
        for _ in range(100):
            answer = http.post("/retrieve", json={"question": "who built the lighthouse", "mode": "vector"})
            if answer.status_code == 200:
                break
            asyncio.run(asyncio.sleep(0.1))
        assert answer.json()["results"][0]["text"] == LIGHTHOUSE
