"""`explain`: what became of everything that was found, the same answer with and without it, and nothing of others."""

import contextlib

import pytest
from support.databases import in_database
from support.environment import make_settings
from support.ingested import asking, ingested
from support.model_server import Reply, start_model_server

from server.api.middleware import authentication
from server.principal import SCOPES, Principal
from storage.caller import Caller

LAMPS = [
    f"Lamp {n} of the lighthouse burns oil of sort {n}, which the keeper fetches from the harbour on day {n} of the "
    "month. It is lit at dusk by hand and put out at dawn."
    for n in range(20)
]
NOTICE = (
    "Whoever enters the lighthouse has to wear a helmet. Visitors stay behind the yellow line, keep their children by "
    "the hand, and follow what the keeper says. Nothing may be thrown from the gallery."
)
TEXTS = {
    "lighthouse.txt": "\n\n\n".join(LAMPS),
    "harbour.txt": "The harbour sells oil for the lamps of the lighthouse. It is closed on Sundays.",
    "museum.txt": "The museum shows an old lamp of the lighthouse, which burned oil of whales.",
    "bread.txt": "Sourdough bread rises for twelve hours before it is baked at 230 degrees.",
    **{f"notice-{n}.txt": NOTICE for n in range(4)},
}
LAMP = "Lamp 17 of the lighthouse burns oil that the keeper fetches from the harbour"
QUESTION = "Which oil do the lamps of the lighthouse burn, and who has to wear a helmet?"


@pytest.fixture(scope="module")
def dsn(databases, embedder, tmp_path_factory):
    """Lend a database with the texts."""
    folder = tmp_path_factory.mktemp("texts")
    with databases.lend() as url:
        in_database(url, lambda database: ingested(database, TEXTS, embedder=embedder, folder=folder))
        yield url


@pytest.fixture
async def ask(dsn, shared_dir, embedder):
    settings = make_settings(dsn, shared_dir, llm={"provider": "extractive"})
    async with asking(settings, embedder=embedder) as opened:
        yield opened


async def retrieved(ask, **options):
    answer = await ask.http.post("/retrieve", json={"question": QUESTION, **options})
    assert answer.status_code == 200, answer.text
    return answer.json()


def outcomes(answer):
    found = {}
    for each in answer["explanation"]["candidates"]:
        found.setdefault(each["outcome"], []).append(each)
    return found


OPTIONS = [
    {"k": 6, "max_per_document": 2},
    {"k": 4, "join_neighbours": True},
    {"k": 5, "mode": "vector", "min_score": 0.45},
    {"k": 5, "min_score": 0.45},
    {"k": 5, "mode": "keyword"},
    {"k": 3, "mode": "window"},
    {"k": 3, "mode": "auto_merging"},
    {"k": 3, "mode": "fusion"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
async def test_an_explanation_changes_nothing_of_what_is_found(ask, options):
    plain, explained = await retrieved(ask, **options), await retrieved(ask, **options, explain=True)
    assert plain["explanation"] is None
    assert explained["results"] == plain["results"] != []
    candidates = explained["explanation"]["candidates"]
    assert [each["citation"] for each in candidates[: len(plain["results"])]] == [
        each["id"] for each in plain["results"]
    ]
    given = outcomes(explained)["given"]
    assert [each["chunk_index"] for each in given] == [each["chunk_index"] for each in plain["results"]]
    assert len({(each["document_id"], each["chunk_index"]) for each in candidates}) == len(candidates)
    assert "text" not in candidates[0]


async def test_each_reason_for_leaving_a_passage_out_is_told(ask):
    found = outcomes(await retrieved(ask, k=6, max_per_document=2, explain=True))
    assert {each["source"] for each in found["document_cap"]} == {"lighthouse.txt"}
    (notice,) = [each for each in found["given"] if each["source"].startswith("notice-")]
    repeats = [each for each in found["duplicate"] if each["source"].startswith("notice-")]
    assert len(repeats) == 3
    assert {each["citation"] for each in repeats} == {notice["citation"]}
    beyond = outcomes(await retrieved(ask, k=2, explain=True))["beyond_k"]
    assert {each["citation"] for each in beyond} == {None}
    joined = outcomes(await retrieved(ask, question=LAMP, k=9, join_neighbours=True, explain=True))["joined"]
    assert {each["source"] for each in joined} == {"lighthouse.txt"}
    assert all(isinstance(each["citation"], int) for each in joined)


@pytest.mark.parametrize("mode", ["hybrid", "vector"])
async def test_what_is_below_the_bar_is_told_with_its_score(ask, mode):
    answer = await retrieved(ask, k=60, mode=mode, min_score=0.45, explain=True)
    below = outcomes(answer)["below_min_score"]
    assert "bread.txt" in {each["source"] for each in below}
    assert all(each["scores"]["dense"] < 0.45 for each in below)
    assert all(each["scores"]["dense"] >= 0.45 for each in outcomes(answer)["given"])


async def test_ranks_are_those_of_the_scores(ask):
    candidates = (await retrieved(ask, k=3, explain=True))["explanation"]["candidates"]
    for leg in ("dense", "lexical"):
        ranked = sorted((each for each in candidates if leg in each["ranks"]), key=lambda each: each["ranks"][leg])
        scores = [each["scores"][leg] for each in ranked]
        assert len(scores) > 3
        assert len({each["ranks"][leg] for each in ranked}) == len(ranked)
        if leg == "dense":
            assert scores == sorted(scores, reverse=True)
            assert ranked[0]["ranks"][leg] == 1
    assert sorted(each["ranks"]["fused"] for each in candidates) == list(range(1, len(candidates) + 1))
    by_word = (await retrieved(ask, k=3, mode="keyword", explain=True))["explanation"]["candidates"]
    assert {tuple(each["ranks"]) for each in by_word} == {("lexical",)}


async def test_whole_answers_and_streams_tell_it_too(ask):
    whole = (await ask.http.post("/query", json={"question": QUESTION, "k": 3, "explain": True})).json()
    assert len(whole["explanation"]["candidates"]) > 3
    plain = (await ask.http.post("/query", json={"question": QUESTION, "k": 3})).json()
    assert plain["explanation"] is None
    assert plain["answer"] == whole["answer"]
    for path, asked in (("/query/stream", "question"), ("/chat/stream", "message")):
        told = (await ask.http.post(path, json={asked: QUESTION, "k": 3, "explain": True})).text
        sources = next(line for line in told.splitlines() if line.startswith("data: "))
        assert '"explanation":{"candidates":[{"outcome":"given"' in sources
    chat = (await ask.http.post("/chat", json={"message": QUESTION, "k": 3, "explain": True})).json()
    assert chat["explanation"]["candidates"][0]["outcome"] == "given"


async def test_a_passage_that_the_window_has_no_room_for_is_told(dsn, shared_dir, embedder):
    with start_model_server() as model:
        model.default = Reply(text="Oil [1].")
        llm = {"provider": "openai_like", "base_url": model.openai_url, "api_key": "k", "model": "m"}
        settings = make_settings(dsn, shared_dir, llm=llm | {"context_window": 2048, "max_tokens": 800})
        async with asking(settings, embedder=embedder) as ask:
            told = (await ask.http.post("/query", json={"question": QUESTION, "k": 20, "explain": True})).json()
    assert outcomes(told)["no_room"]
    assert len(outcomes(told)["given"]) == len(told["citations"])


async def test_nothing_is_told_of_a_document_that_one_may_not_read(ask, monkeypatch):
    found = (await retrieved(ask, k=20, explain=True))["explanation"]["candidates"]
    hidden = next(each["document_id"] for each in found if each["source"] == "museum.txt")
    await ask.http.put(f"/documents/{hidden}/readers", json={"readers": ["group:hr"]})
    with contextlib.ExitStack() as stack:
        patched = stack.enter_context(monkeypatch.context())
        patched.setattr(authentication, "EVERYBODY", Principal(Caller("public", "ada", ("eng",)), frozenset(SCOPES)))
        for mode in ("hybrid", "vector", "keyword", "window"):
            told = await retrieved(ask, k=20, mode=mode, min_score=0.9, explain=True)
            assert hidden not in str(told), mode
            assert "museum" not in str(told), mode
    await ask.http.put(f"/documents/{hidden}/readers", json={"readers": ["*"]})
