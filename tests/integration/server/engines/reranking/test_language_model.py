"""Reranking by a scripted language model on a real connection: LlamaIndex's reranker, with nonsense for answers."""

from __future__ import annotations

import contextlib
import re

import pytest
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from support.environment import make_settings
from support.model_server import Reply, start_model_server

from config.settings import SettingsError
from server.answers import Question
from server.engines.models.choose import open_model
from server.engines.parts import EngineParts
from server.engines.record import Record
from server.engines.reranking.choose import open_reranker
from server.engines.reranking.language_model import choices_in

QUERY = QueryBundle("Which {context_str} {query_str} one?")


@pytest.fixture(scope="module")
def model_server():
    with start_model_server() as server:
        yield server


@pytest.fixture
def ask(model_server, tmp_path):
    """Return a function that ranks passages by what the model says."""

    async def asked(reply, passages, *, is_chat=True, **rerank):
        model_server.requests.clear()
        model_server.default = reply
        llm = {
            "provider": "openai_like",
            "base_url": model_server.openai_url,
            "api_key": "k",
            "model": "m",
            "is_chat_model": is_chat,
            "max_retries": 0,
        }
        settings = make_settings("postgresql://none", tmp_path, llm=llm, rerank={"provider": "llm", **rerank})
        async with contextlib.AsyncExitStack() as stack:
            model = await open_model(settings)
            stack.push_async_callback(model.close)
            reranker = await open_reranker(settings, model=model)
            stack.push_async_callback(reranker.close)
            parts = EngineParts(Question("q"), None, None, None, model, settings, Record(), reranker=reranker)
            nodes = [NodeWithScore(node=TextNode(id_=text, text=text), score=0.5) for text in passages]
            ranked = await reranker.postprocessor(parts).apostprocess_nodes(nodes, QUERY)
        return [each.node.text for each in ranked], parts.record, [each.score for each in ranked]

    return asked


async def test_the_model_s_order_is_taken_and_its_calls_are_counted(ask, model_server):
    order, record, scores = await ask(Reply(text="Doc: 3, Relevance: 9\nDoc: 1, Relevance: 4"), ["a", "b", "c"])
    assert (order, scores) == (["c", "a", "b"], [9.0, 4.0, 4.0])
    assert record.reranked.applied
    assert record.reranked.model == "m"
    assert record.usage.total_tokens > 0
    (request,) = model_server.requests
    assert request.body["temperature"] == 0


@pytest.mark.parametrize("is_chat", [True, False])
async def test_passages_and_question_are_data_in_the_prompt(ask, model_server, is_chat):
    passage = "{query_str} {context_str} {{ 7 * 7 }} {0}"
    await ask(Reply(text="Doc: 1, Relevance: 9"), [passage, "b"], is_chat=is_chat)
    (request,) = model_server.requests
    prompt = request.body["messages"][-1]["content"] if is_chat else request.body["prompt"]
    assert f"Document 1:\n{passage}\n\nDocument 2:\nb" in prompt
    assert f"Question: {QUERY.query_str}" in prompt


@pytest.mark.parametrize(
    "answer",
    [
        "I am sorry, but I cannot do that.",
        "Doc: 0, Relevance: 9",
        "Doc: -1, Relevance: 9",
        "Doc: 99, Relevance: 9",
        "Doc: 1, Relevance: 11",
        "Doc: 1, Relevance: -3",
        "Doc: 1, Relevance: NaN",
        "1, 2, 3",
        "Doc: 1\nRelevance: 3",
        "Doc: 99999999999999999999999999, Relevance: 1",
        " ",
    ],
)
async def test_an_answer_that_ranks_nothing_is_nonsense(ask, answer):
    order, record, _ = await ask(Reply(text=answer), ["a", "b", "c"])
    assert order == ["a", "b", "c"]
    assert (record.reranked.applied, record.reranked.reason) == (False, "nonsense")


def test_lines_that_make_sense_are_taken_from_among_those_that_do_not():
    answer = (
        "Sure! Here you go:\n\n- **Doc: 2, Relevance: 8**\nDocument 1 - Relevance: 3.5\nDoc: 2, Relevance: 1\n"
        "Doc: 9, Relevance: 9\nDoc: 3, relevance: ten\n[Doc 3], Relevance=7/10"
    )
    assert choices_in(answer, 3) == ([2, 1, 3], [8.0, 3.5, 7.0])


async def test_many_passages_are_asked_about_in_several_calls_and_fused_by_relevance(ask, model_server):
    def rate(prompt):
        last = len(re.findall(r"^Document \d+:", prompt, re.MULTILINE))
        return "\n".join(f"Doc: {number}, Relevance: {number}" for number in range(1, last + 1))

    order, record, scores = await ask(Reply(text=rate), [f"p{number}" for number in range(25)])
    assert len(model_server.requests) == 3
    assert scores == sorted(scores, reverse=True)
    assert order[:2] == ["p9", "p19"]
    assert len(order) == 25
    assert record.reranked.candidates == 25


async def test_a_model_that_hangs_is_given_up_in_time(ask, model_server):
    order, record, _ = await ask(Reply(fault="hang-head"), ["a", "b"], timeout=0.3)
    assert order == ["a", "b"]
    assert record.reranked.reason == "timeout"
    assert model_server.requests


async def test_a_model_that_fails_changes_nothing(ask):
    order, record, _ = await ask(Reply(fault="server-error"), ["a", "b"])
    assert order == ["a", "b"]
    assert record.reranked.reason == "failed"


async def test_without_a_language_model_the_server_does_not_start(tmp_path):
    settings = make_settings("postgresql://none", tmp_path, rerank={"provider": "llm"})
    with pytest.raises(SettingsError, match="FOOTNOTE_RERANK__PROVIDER: llm needs a language model"):
        await open_reranker(settings, model=None)
