"""The order that a ranking gives, and what becomes of one that goes wrong; any postprocessor of LlamaIndex's ranks."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.postprocessor.rankGPT_rerank import RankGPTRerank
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from support.environment import make_settings

from config.settings import RerankSettings
from server.answers import Question, Reranked
from server.engines.models.errors import ModelRejected, ModelUnavailable
from server.engines.parts import EngineParts
from server.engines.record import Record
from server.engines.reranking import wants_reranking
from server.engines.reranking.order import in_order
from server.engines.reranking.postprocessor import ScoredRanking
from server.engines.reranking.reranker import Reranker
from server.engines.reranking.troubles import RerankNonsense

QUERY = QueryBundle("Which one?")


def found(*names, scores=None):
    scores = scores or [0.9 - number / 10 for number in range(len(names))]
    return [
        NodeWithScore(node=TextNode(id_=name, text=f"text of {name}"), score=score)
        for name, score in zip(names, scores, strict=True)
    ]


def names(nodes):
    return [each.node.node_id for each in nodes]


class Ranking(BaseNodePostprocessor):
    """Does what a function does with the nodes; like LlamaIndex's own, it changes what it is given."""

    _act: object = PrivateAttr()

    def __init__(self, act):
        super().__init__()
        self._act = act

    def _postprocess_nodes(self, *_):
        raise NotImplementedError

    async def _apostprocess_nodes(self, nodes, _=None):
        for each in nodes:
            each.score = -1.0
        result = self._act(nodes)
        return await result if asyncio.iscoroutine(result) else result


class Source:
    provider = model = "made-up"

    def __init__(self, act):
        self.act = act if isinstance(act, BaseNodePostprocessor) else Ranking(act)

    def ranking(self, _):
        return self.act

    async def warm_up(self):
        await self.act.apostprocess_nodes(found("a"), QUERY)

    async def close(self):
        pass


def parts_of(*, rerank=None, k=8, **settings):
    chosen = make_settings("postgresql://nowhere", "nowhere", rerank={"provider": "local", **settings})
    question = Question("Which one?", rerank=rerank, k=k)
    return EngineParts(question, None, None, None, None, chosen, Record())


def made(act, **settings):
    return Reranker(Source(act), settings=RerankSettings(provider="local", **settings))


async def reranked(act, nodes, *, parts=None, reranker=None, **settings):
    parts = parts or parts_of(**settings)
    reranker = reranker or made(act, **settings)
    return await reranker.postprocessor(parts).apostprocess_nodes(nodes, QUERY), parts.record


def test_passages_go_in_the_order_of_the_ranking_with_its_scores():
    ordered = in_order(found("c", "a", scores=[7.0, 2.0]), of=found("a", "b", "c"))
    assert [(each.node.node_id, each.score) for each in ordered] == [("c", 7.0), ("a", 2.0), ("b", 2.0)]


def test_an_order_without_scores_of_its_own_gets_the_ranks_reciprocals():
    ordered = in_order(found("c", "a", scores=[0.1, 0.9]), of=found("a", "c"))
    assert [(each.node.node_id, each.score) for each in ordered] == [("c", 1.0), ("a", 0.5)]
    ordered = in_order([NodeWithScore(node=TextNode(id_="a"))], of=found("a"))
    assert [each.score for each in ordered] == [1.0]


@pytest.mark.parametrize(
    "ranked",
    [
        found(),
        found("a", "a"),
        found("a", "made-up"),
        found("a", "b", scores=[math.nan, 1.0]),
        found("a", scores=[math.inf]),
    ],
)
def test_what_is_no_order_of_the_passages_is_nonsense(ranked):
    with pytest.raises(RerankNonsense):
        in_order(ranked, of=found("a", "b"))


async def test_the_record_tells_scores_time_and_that_it_was_applied():
    parts = parts_of()
    parts.record.scores.update({"a": {"dense": 0.5}, "b": {"dense": 0.4}})
    nodes, record = await reranked(ScoredRanking(score_last_first), found("a", "b"), parts=parts)
    assert [(each.node.node_id, each.score) for each in nodes] == [("b", 1.0), ("a", 0.0)]
    assert record.scores == {"a": {"dense": 0.5, "rerank": 0.0}, "b": {"dense": 0.4, "rerank": 1.0}}
    assert record.reranked == Reranked(applied=True, model="made-up", candidates=2)
    assert record.timings_ms["rerank"] > 0


async def score_last_first(question, passages):
    assert question == "Which one?"
    return [float(number) for number in range(len(passages))]


async def test_only_the_candidates_are_ranked_and_the_others_follow_as_they_were_found():
    nodes, record = await reranked(
        ScoredRanking(score_last_first), found("a", "b", "c", "d"), parts=parts_of(candidates=2, k=1), candidates=2
    )
    assert names(nodes) == ["b", "a", "c", "d"]
    assert record.reranked.candidates == 2
    assert [each.score for each in nodes] == [1.0, 0.0, 0.0, 0.0]
    assert set(record.scores) == {"a", "b"}


async def test_at_least_as_many_as_were_asked_for_are_ranked():
    nodes, _ = await reranked(
        ScoredRanking(score_last_first), found("a", "b", "c"), parts=parts_of(candidates=1, k=3), candidates=1
    )
    assert names(nodes) == ["c", "b", "a"]


async def test_a_passage_that_was_found_twice_is_ranked_once():
    nodes, _ = await reranked(ScoredRanking(score_last_first), found("a", "b", "a"))
    assert names(nodes) == ["b", "a"]


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda _: asyncio.sleep(30), "timeout"),
        (lambda _: 1 / 0, "failed"),
        (lambda _: [], "nonsense"),
        (lambda nodes: [*nodes, *nodes], "nonsense"),
        (lambda _: raise_(ModelRejected("the key")), "rejected"),
        (lambda _: raise_(ModelUnavailable("away")), "unavailable"),
    ],
)
async def test_where_it_goes_wrong_the_passages_go_on_as_they_were_found(act, reason):
    before = found("a", "b", "c")
    nodes, record = await reranked(act, before, timeout=0.1)
    assert [(each.node.node_id, each.score) for each in nodes] == [("a", 0.9), ("b", 0.8), ("c", 0.7)]
    assert record.reranked == Reranked(applied=False, model="made-up", candidates=3, reason=reason)
    assert record.scores == {}


def raise_(error):
    raise error


async def test_with_nothing_found_nothing_is_ranked():
    nodes, record = await reranked(lambda _: 1 / 0, [])
    assert nodes == []
    assert record.reranked == Reranked(applied=False, model="made-up", candidates=0, reason="no-passages")


async def test_of_several_rankings_of_one_question_the_one_that_failed_is_told():
    parts, reranker = parts_of(), made(ScoredRanking(score_last_first))
    await reranked(None, found("a"), parts=parts, reranker=reranker)
    await reranked(None, found("b"), parts=parts, reranker=made(lambda _: []))
    await reranked(None, found("c"), parts=parts, reranker=reranker)
    assert parts.record.reranked.reason == "nonsense"


async def test_after_failures_in_a_row_it_is_not_asked_for_a_while():
    asked = []
    reranker = made(lambda _: asked.append(1) or 1 / 0, breaker_failures=2, breaker_seconds=60)
    reasons = []
    for _ in range(4):
        _, record = await reranked(None, found("a"), reranker=reranker)
        reasons.append(record.reranked.reason)
    assert reasons == ["failed", "failed", "circuit-open", "circuit-open"]
    assert len(asked) == 2
    assert "ZeroDivisionError" in reranker.trouble
    assert reranker.breaker.state == "open"


async def test_a_slow_one_costs_its_time_only_until_the_breaker_opens():
    reranker = made(lambda _: asyncio.sleep(30), timeout=0.05, breaker_failures=2, breaker_seconds=60)
    for _ in range(2):
        await reranked(None, found("a"), reranker=reranker)
    _, record = await reranked(None, found("a"), reranker=reranker)
    assert record.reranked.reason == "circuit-open"


async def test_a_question_that_is_given_up_gives_its_ranking_up_and_is_no_failure():
    started, ended = asyncio.Event(), []

    async def hang():
        started.set()
        try:
            await asyncio.sleep(30)
        finally:
            ended.append(True)

    reranker = made(lambda _: hang(), breaker_failures=1)
    asking = asyncio.create_task(reranked(None, found("a"), reranker=reranker))
    await started.wait()
    asking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asking
    assert asking.cancelled()
    assert ended == [True]
    assert reranker.breaker.state == "closed"
    assert reranker.trouble is None


async def test_a_warm_up_that_fails_is_told_and_the_next_success_clears_it():
    reranker = made(lambda nodes: nodes[::-1])
    reranker._source.warm_up = lambda: raise_async(ModelUnavailable("nobody is there"))
    await reranker.warm_up()
    assert reranker.trouble == "nobody is there"
    await reranked(None, found("a", "b"), reranker=reranker)
    assert reranker.trouble is None


async def raise_async(error):
    raise error


async def test_a_postprocessor_of_llama_index_that_knows_no_async_runs_beside_the_event_loop():
    class Sleepy(BaseNodePostprocessor):
        def _postprocess_nodes(self, nodes, query_bundle=None):  # noqa: ARG002 (LlamaIndex's signature)
            time.sleep(0.3)  # as models do
            return nodes[::-1]

    ticks = []

    async def tick():
        while True:
            await asyncio.sleep(0.02)
            ticks.append(1)

    ticking = asyncio.create_task(tick())
    nodes, record = await reranked(Sleepy(), found("a", "b"))
    ticking.cancel()
    assert names(nodes) == ["b", "a"]
    assert record.reranked.applied
    assert len(ticks) > 3


async def test_a_filter_of_llama_index_is_a_ranking_too_and_loses_nothing():
    nodes, _ = await reranked(SimilarityPostprocessor(similarity_cutoff=0.85), found("a", "b", "c"))
    assert names(nodes) == ["a", "b", "c"]
    assert [each.score for each in nodes] == [0.9, 0.9, 0.9]


class Permuting(MockLLM):
    async def achat(self, _, **__):
        return ChatResponse(message=ChatMessage(role="assistant", content="[3] > [1] > [99] > [3]"))


async def test_rank_gpt_of_llama_index_plugs_in():
    nodes, record = await reranked(RankGPTRerank(llm=Permuting(), top_n=10), found("a", "b", "c"))
    assert names(nodes) == ["c", "a", "b"]
    assert [each.score for each in nodes] == [1.0, 1 / 2, 1 / 3]
    assert record.reranked.applied


@pytest.mark.parametrize(
    ("provider", "always", "asked", "wanted"),
    [
        ("none", True, None, False),
        ("none", True, True, False),
        ("local", True, None, True),
        ("local", True, False, False),
        ("local", False, None, False),
        ("local", False, True, True),
    ],
)
def test_a_question_says_whether_it_wants_reranking_else_the_settings_do(provider, always, asked, wanted):
    assert wants_reranking(parts_of(rerank=asked, provider=provider, always=always)) is wanted
