"""`fusion`: other wordings by a scripted model, fused over a real index."""

import asyncio
import json

import pytest
from support.chaptered import index_chaptered
from support.engines import BREAD, HARBOUR, last_messages, scripted, service
from support.model_server import Reply

from server.answers import Question
from server.engines.query.fusion import Ranking, fuse
from storage.errors import StoreUnavailable, TableGone
from storage.search.filters import Filter, FilterGroup
from storage.search.search import ChunkSearch, Hit

ASKED = "What does the woman in the tower earn?"


@pytest.fixture
async def opened(database, embedder, settings, model_server):
    """Return a function that opens the service over two documents."""
    model_server.requests.clear()
    model_server.default = scripted()
    meta = {"harbour.md": {"team": "sea"}, "bread.md": {"team": "kitchen"}}
    await index_chaptered(database, embedder, {"harbour.md": HARBOUR, "bread.md": BREAD}, metadata=meta)

    def make(*, with_model=True, **groups):
        server = model_server if with_model else None
        return service(settings, database=database, embedder=embedder, model_server=server, **groups)

    return make


def _hit(name: str) -> Hit:
    return Hit(name, "d", 0, None, 0, 1, "x", {}, 0.0, {"dense": 0.5})


def test_each_ranking_adds_its_weight_over_the_rank():
    fused = fuse([Ranking([_hit("a"), _hit("b")], 2.0), Ranking([_hit("b"), _hit("c")])], rrf_k=60)
    assert {hit.node_id: hit.score for hit in fused} == pytest.approx({"a": 2 / 61, "b": 2 / 62 + 1 / 61, "c": 1 / 62})
    assert [hit.node_id for hit in fused] == ["b", "a", "c"]


async def test_other_wordings_are_searched_for_beside_the_question_and_counted(opened, model_server):
    others = ["Pay of the keeper of the lighthouse in crowns a month", "salary of the lighthouse keeper"]
    model_server.default = scripted(listed=json.dumps([*others, ASKED, others[0].upper()]))
    async with opened() as made:
        answer = await made.ask(Question(ASKED, mode="fusion", k=3))
    engine = answer.done.engine
    assert (engine.name, engine.queries, engine.calls) == ("fusion", tuple(others), 1)
    assert all(note.startswith("No passage mentions") for note in engine.notes)  # it is another word for pay
    assert any("forty" in citation.text for citation in answer.done.citations)
    assert last_messages(model_server)[0] == f"The question: {json.dumps(ASKED)}"
    assert [c.score for c in answer.done.citations] == sorted((c.score for c in answer.done.citations), reverse=True)
    own = await _usage(opened, model_server)
    assert answer.done.usage.total_tokens > own  # the call that expanded, too


async def _usage(opened, model_server):
    model_server.requests.clear()
    async with opened() as made:
        answer = await made.ask(Question(ASKED, k=3))
    return answer.done.usage.total_tokens


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "I am sorry, I cannot do that.",
        '["unfinished',
        "[" * 5000,
        '{"queries": {"a": 1}}',
        "[1, null, {}, []]",
        json.dumps(["x" * 5000]),
        json.dumps(["\ud800", "\0", "   "]),
        json.dumps([ASKED, ASKED.upper()]),
    ],
)
async def test_a_reply_that_lists_nothing_leaves_the_question_alone(opened, model_server, reply):
    model_server.default = scripted(listed=reply)
    async with opened() as made:
        found = await made.retrieve(Question(ASKED, mode="fusion", k=3))
        alone = await made.retrieve(Question(ASKED, mode="hybrid", k=3))
    assert found.engine.queries == ()
    assert "no other wordings" in found.engine.notes[0]
    assert [result.node_id for result in found.results] == [result.node_id for result in alone.results]


async def test_a_thousand_wordings_are_cut_to_what_is_set(opened, model_server):
    model_server.default = scripted(listed="\n".join(f"{n}. wording number {n}\0" for n in range(1000)))
    async with opened(engines={"fusion_queries": 2}) as made:
        found = await made.retrieve(Question(ASKED, mode="fusion"))
    assert found.engine.queries == ("wording number 0", "wording number 1")


async def test_without_a_chat_model_the_question_is_searched_alone_and_the_answer_says_so(opened):
    async with opened(with_model=False) as made:
        answer = await made.ask(Question(ASKED, mode="fusion"))
    assert answer.done.finish_reason == "extractive"
    assert answer.done.engine.calls == 0
    assert answer.done.engine.notes[0] == "There is no chat model to expand the question: it was searched for alone."


async def test_a_model_that_fails_to_expand_does_not_keep_passages_from_being_found(opened, model_server):
    model_server.default = Reply(fault="server-error")
    async with opened() as made:
        found = await made.retrieve(Question(ASKED, mode="fusion", k=3))
    assert len(found.results) == 3
    assert "could not expand" in found.engine.notes[0]


async def test_an_expansion_that_takes_too_long_is_given_up(opened, model_server):
    model_server.default = Reply(fault="hang-first")
    async with opened(engines={"call_timeout": 0.3}) as made:
        found = await asyncio.wait_for(made.retrieve(Question(ASKED, mode="fusion", k=3)), timeout=10)
    assert len(found.results) == 3
    assert await asyncio.to_thread(model_server.wait_for_disconnects, 1, timeout=5)


async def test_one_failing_search_does_not_fail_the_others(opened, model_server, monkeypatch):
    model_server.default = scripted(listed='["keeper\'s pay", "BROKEN"]')
    whole = ChunkSearch.search

    async def search(self, request):
        if request.text == "BROKEN":
            raise StoreUnavailable
        return await whole(self, request)

    monkeypatch.setattr(ChunkSearch, "search", search)
    async with opened() as made:
        found = await made.retrieve(Question(ASKED, mode="fusion", k=3))
        assert len(found.results) == 3
        assert found.engine.notes == ("1 of 3 searches failed and were left out.",)

        async def broken(_self, _request):
            raise StoreUnavailable

        monkeypatch.setattr(ChunkSearch, "search", broken)
        with pytest.raises(StoreUnavailable):
            await made.retrieve(Question(ASKED, mode="fusion"))


async def test_a_generation_that_is_gone_is_not_taken_for_a_failed_search(opened, model_server, monkeypatch):
    model_server.default = scripted(listed='["GONE"]')
    whole, gone = ChunkSearch.search, [True]

    async def search(self, request):
        if request.text == "GONE" and gone.pop():
            raise TableGone
        gone.append(False)
        return await whole(self, request)

    monkeypatch.setattr(ChunkSearch, "search", search)
    async with opened() as made:
        found = await made.retrieve(Question(ASKED, mode="fusion", k=3))
    assert found.engine.notes == ()  # it was asked anew, and whole
    assert found.engine.queries == ("GONE",)


async def test_filters_documents_the_bar_and_k_hold_for_every_wording(opened, model_server):
    model_server.default = scripted(listed='["sourdough bread and its starter", "rye flour"]')
    sea = FilterGroup(filters=[Filter(key="team", value="sea")])
    async with opened() as made:
        filtered = await made.retrieve(Question(ASKED, mode="fusion", filters=sea, min_score=0.0))
        assert {result.source for result in filtered.results} == {"harbour.md"}
        bread = (await made.retrieve(Question("sourdough"))).results[0].document_id
        named = await made.retrieve(Question(ASKED, mode="fusion", document_ids=(bread,), min_score=0.0, k=2))
        assert [result.source for result in named.results] == ["bread.md"] * 2
        assert (await made.retrieve(Question(ASKED, mode="fusion", min_score=0.95))).results == ()
