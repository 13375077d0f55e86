"""Passages over HTTP: caps, near-duplicates, neighbours joined, and `k` of them wherever there are as many."""

import pytest
from support.databases import in_database
from support.environment import make_settings
from support.ingested import asking, ingested

from server.engines.passages import selection
from storage.documents.text import DocumentTexts

LAMPS = [
    f"Lamp {n} of the lighthouse burns oil of sort {n}, which the keeper fetches from the harbour on day {n} of the "
    "month. It is lit at dusk by hand and put out at dawn."
    for n in range(40)
]
NOTICE = (
    "Whoever enters the lighthouse has to wear a helmet. Visitors stay behind the yellow line, keep their children by "
    "the hand, and follow what the keeper says. Nothing may be thrown from the gallery."
)
TEXTS = {
    "lighthouse.txt": "\n\n\n".join(LAMPS),
    "harbour.txt": "The harbour sells oil for the lamps of the lighthouse. It is closed on Sundays.",
    "museum.txt": "The museum shows an old lamp of the lighthouse, which burned oil of whales.",
    **{f"notice-{n:02}.txt": NOTICE for n in range(30)},
    "notice-in-summer.txt": NOTICE.replace("has to wear", "need not wear"),
    "rules.txt": "Rules for the lighthouse: a helmet is worn on the stairs, and nobody climbs the gallery in a storm.",
}


@pytest.fixture(scope="module")
def dsn(databases, embedder, tmp_path_factory):
    """Lend a database with the texts, which all tests ask and none changes."""
    folder = tmp_path_factory.mktemp("texts")
    with databases.lend() as url:
        in_database(url, lambda database: ingested(database, TEXTS, embedder=embedder, folder=folder))
        yield url


@pytest.fixture
async def ask(settings, embedder):
    async with asking(settings, embedder=embedder) as opened:
        yield opened


@pytest.mark.parametrize("mode", ["hybrid", "vector", "keyword"])
async def test_mirrored_texts_take_one_place_and_k_passages_are_found_all_the_same(ask, mode):
    question = "helmet in the lighthouse"
    found = await ask.sources(question, mode=mode, k=8)
    assert len(found) == 8
    assert sum(source.startswith(("notice-0", "notice-1")) for source in found) <= 1
    assert {"rules.txt", "notice-in-summer.txt"} <= set(found)  # what differs by "not" is no duplicate
    kept = await ask.sources(question, mode=mode, k=8, near_duplicates="keep")
    assert sum(source.startswith("notice-") for source in kept) >= 6


async def test_a_cap_lets_other_documents_in(ask):
    question = "lamp oil of the lighthouse"
    assert (await ask.sources(question, k=10)).count("lighthouse.txt") >= 8
    for cap in (1, 3):
        found = await ask.sources(question, k=6, max_per_document=cap)
        assert len(found) == 6
        assert found.count("lighthouse.txt") == cap
        assert {"harbour.txt", "museum.txt"} <= set(found)


async def test_a_joined_passage_is_the_documents_own_text(ask, database):
    question = "Lamp 17 of the lighthouse burns oil that the keeper fetches from the harbour"
    plain = await ask(question, k=9)
    found = await ask(question, k=9, join_neighbours=True)
    assert len(found) == 9
    joined = [passage for passage in found if len(passage["chunks"]) > 1]
    assert joined
    for passage in found:
        assert passage["chunk_index"] in passage["chunks"]
        own = await DocumentTexts(database).part(
            passage["document_id"],
            collection="default",
            offset=passage["start"],
            limit=passage["end"] - passage["start"],
        )
        assert passage["text"] == own.text
    scores = [passage["score"] for passage in found]
    assert scores == sorted(scores, reverse=True)
    assert (found[0]["node_id"], found[0]["scores"]) == (plain[0]["node_id"], plain[0]["scores"])
    assert all(passage["chunks"] == [passage["chunk_index"]] for passage in plain)


async def test_settings_decide_where_the_question_does_not(settings, embedder, monkeypatch):
    url = settings.database.url.get_secret_value()
    chosen = {"max_per_document": 1, "near_duplicates": "keep", "join_neighbours": True}
    monkeypatch.setattr(selection, "JOINED_CHARACTERS", 500)
    async with asking(make_settings(url, settings.data_dir, retrieval=chosen), embedder=embedder) as ask:
        assert (await ask.sources("lamp oil of the lighthouse", k=6)).count("lighthouse.txt") == 1
        assert sum("notice" in source for source in await ask.sources("wear a helmet", k=6)) > 2
        assert (await ask.sources("lamp oil", k=6, max_per_document=2)).count("lighthouse.txt") == 2
        assert sum("notice" in source for source in await ask.sources("helmet", k=8, near_duplicates="drop")) <= 2
        found = await ask("Lamp 17 of the lighthouse", k=9)
        assert max(len(passage["chunks"]) for passage in found) > 1
        assert max(passage["end"] - passage["start"] for passage in found) <= 500
        alone = await ask("Lamp 17 of the lighthouse", k=6, join_neighbours=False)
        assert {len(passage["chunks"]) for passage in alone} == {1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_per_document", 0),
        ("max_per_document", 101),
        ("max_per_document", "2"),
        ("near_duplicates", "some"),
        ("near_duplicates", True),
        ("join_neighbours", "yes"),
    ],
)
async def test_an_option_out_of_bounds_is_refused_by_name(ask, field, value):
    response = await ask.http.post("/retrieve", json={"question": "lamp", field: value})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


async def test_an_answer_a_chat_and_openais_clients_take_the_same_options(ask):
    options = {"k": 6, "max_per_document": 1, "join_neighbours": True, "near_duplicates": "keep"}
    answers = [
        (await ask.http.post("/query", json={"question": "lamp oil of the lighthouse", **options})).json()["citations"],
        (await ask.http.post("/chat", json={"message": "lamp oil of the lighthouse", **options})).json()["citations"],
    ]
    body = {
        "model": "footnote/default",
        "messages": [{"role": "user", "content": "lamp oil of the lighthouse"}],
        "footnote": options,
    }
    completion = (await ask.http.post("/v1/chat/completions", json=body)).json()
    answers.append(completion["choices"][0]["message"]["citations"])
    for citations in answers:
        sources = [citation["source"] for citation in citations]
        assert sources.count("lighthouse.txt") == 1
        assert all(citation["chunks"] for citation in citations)
