"""Sub-questions: the model splits a question, each part is searched and answered, then the answers are combined."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import zip_longest
from typing import Any

import structlog
from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts.mixin import PromptDictType
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.question_gen.types import BaseQuestionGenerator, SubQuestion
from llama_index.core.response_synthesizers.base import QueryTextType
from llama_index.core.schema import NodeWithScore, QueryBundle
from llama_index.core.tools import ToolMetadata

from server.engines.abilities import conversational
from server.engines.assembly import fitting, retriever_engine
from server.engines.llama_index import AsyncRetriever
from server.engines.models.errors import ModelError
from server.engines.models.model import LanguageModel
from server.engines.parts import EngineParts
from server.engines.passages.widening import with_single_chunks
from server.engines.retrieval import StoreRetriever
from server.engines.writing.consulting import all_of, consult, listed
from server.engines.writing.prompts import (
    COMBINING_SYSTEM,
    FINDING_SYSTEM,
    PARTS_SYSTEM,
    Passage,
    combining_messages,
    numbered_messages,
    quoted_question,
)
from server.engines.writing.synthesis import CitingSynthesizer, synthesizer_for, written

PARTS_TOKENS = 300
FINDING_TOKENS = 300
_TOOL = "passages"
_log = structlog.get_logger(__name__)


class PartsGenerator(BaseQuestionGenerator):
    """LlamaIndex's question generator, with counted and bounded calls and validated output."""

    def __init__(self, parts: EngineParts, *, model: LanguageModel, most: int) -> None:
        self._parts = parts
        self._model = model
        self._most = most

    async def agenerate(self, tools: Sequence[ToolMetadata], query: QueryBundle) -> list[SubQuestion]:
        """Return the parts of a question for the only tool; none if it need not be split, or the model fails."""
        messages = quoted_question(PARTS_SYSTEM.format(most=self._most), query.query_str)
        try:
            reply = await consult(self._parts, self._model, messages, max_tokens=PARTS_TOKENS)
        except ModelError as error:
            _log.info("a question was not split", error=type(error).__name__)
            self._parts.record.notes.append("The model could not part the question: it was answered as a whole.")
            return []
        found = listed(reply, most=self._most, besides=query.query_str)
        return [SubQuestion(sub_question=part, tool_name=tools[0].name or _TOOL) for part in found]

    def generate(self, tools: Sequence[ToolMetadata], query: QueryBundle) -> list[SubQuestion]:
        """Refuse: the model works on the server's event loop."""
        msg = "Footnote's question generators are async: await agenerate()"
        raise NotImplementedError(msg, tools[:0], query)

    def _get_prompts(self) -> PromptDictType:
        return {}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        """Nothing to update: the prompts are code."""


@dataclass(slots=True)
class SubQuestions:
    """The parts of a question with the node ids found for each; empty if it is not split."""

    found: dict[str, list[str]] = field(default_factory=dict)


class PartsRetriever(AsyncRetriever):
    """Searches for all parts concurrently; returns `k` passages, taken from the parts in turn."""

    def __init__(self, parts: EngineParts, *, split: SubQuestions) -> None:
        super().__init__()
        self._parts = parts
        self._split = split

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        with self._parts.record.stage("expand"):
            questions = await self._questions(query_bundle)
        if len(questions) < 2:  # noqa: PLR2004 (one part is the question)
            return await _searched(self._parts, query_bundle.query_str)
        self._parts.record.queries = tuple(questions)
        # neighbours are not joined: a chunk found for two parts would appear in two overlapping passages
        searches = [partial(_searched, with_single_chunks(self._parts), question) for question in questions]
        found = await all_of(searches, at_once=self._parts.settings.engines.parallel_calls)
        kept = _in_turn(found, most=self._parts.question.k)
        ids = {node.node.node_id for node in kept}
        for question, nodes in zip(questions, found, strict=True):
            self._split.found[question] = [node.node.node_id for node in nodes if node.node.node_id in ids]
        return kept

    async def _questions(self, query: QueryBundle) -> list[str]:
        most, model = self._parts.settings.engines.sub_questions, conversational(self._parts.model)
        most = min(most, self._parts.question.k)  # each part needs a passage
        if model is None:
            self._parts.record.notes.append(
                "There is no chat model to split the question: it was searched for as a whole."
            )
        if model is None or most < 2:  # noqa: PLR2004 (see above)
            return []
        generator = PartsGenerator(self._parts, model=model, most=most)
        tool = ToolMetadata(name=_TOOL, description="Finds passages in the documents.")
        return [part.sub_question for part in await generator.agenerate([tool], query)]


class CombiningSynthesizer(CitingSynthesizer):
    """Answers the parts concurrently from their passages, then streams the combined answer.

    Passages have the same numbers in all prompts, so that citations of the parts' answers stay valid.
    """

    def __init__(self, parts: EngineParts, *, model: LanguageModel, split: SubQuestions) -> None:
        super().__init__(parts, model=model)
        self._split = split
        self._ids: list[str] = []

    async def asynthesize(
        self,
        query: QueryTextType,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
        **response_kwargs: Any,
    ) -> RESPONSE_TYPE:
        """Answer from the passages, which are numbered in this order."""
        self._ids = [node.node.node_id for node in nodes]
        return await super().asynthesize(query, nodes, additional_source_nodes, **response_kwargs)

    async def _pieces(self, question: str, passages: Sequence[Passage]) -> AsyncGenerator[str, None]:
        asked = {part: self._numbered(ids, passages) for part, ids in self._split.found.items()}
        if not asked:
            pieces = super()._pieces(question, passages)
        else:
            findings = await self._findings(asked)
            messages = combining_messages(COMBINING_SYSTEM, question, findings, self._parts.conversation)
            pieces = written(self._parts, self._model, messages)
        async with aclosing(pieces):
            async for piece in pieces:
                yield piece

    async def _findings(self, asked: dict[str, list[tuple[int, Passage]]]) -> list[tuple[str, str]]:
        calls = [partial(self._finding, part, passages) for part, passages in asked.items()]
        findings = await all_of(calls, at_once=self._parts.settings.engines.parallel_calls)
        return list(zip(asked, findings, strict=True))

    async def _finding(self, part: str, passages: Sequence[tuple[int, Passage]]) -> str:
        if not passages:
            return "Nothing was found about this."
        messages = numbered_messages(FINDING_SYSTEM, part, passages)
        return await consult(self._parts, self._model, messages, max_tokens=FINDING_TOKENS)

    def _numbered(self, ids: Sequence[str], passages: Sequence[Passage]) -> list[tuple[int, Passage]]:
        numbers = sorted(self._ids.index(node_id) + 1 for node_id in ids if node_id in self._ids)
        return [(number, passages[number - 1]) for number in numbers]


async def _searched(parts: EngineParts, question: str) -> list[NodeWithScore]:
    """Retrieve with all postprocessors, so that a reranker compares passages with the part.

    What is kept of all parts is fitted into the prompt, not what is found for each.
    """
    parts = replace(parts, retrieves_only=True)
    engine = retriever_engine(parts, retriever=StoreRetriever(parts, mode="hybrid"))
    return await engine.aretrieve(QueryBundle(question))


def _in_turn(found: Sequence[Sequence[NodeWithScore]], *, most: int) -> list[NodeWithScore]:
    """Return at most `most` passages: the best of each part, then the second ones, without repetition."""
    kept: dict[str, NodeWithScore] = {}
    for rank in zip_longest(*found):
        for node in rank:
            if node is not None and len(kept) < most:
                kept.setdefault(node.node.node_id, node)
    return list(kept.values())


def build(parts: EngineParts) -> BaseQueryEngine:
    """Return the engine for one request.

    LlamaIndex's `SubQuestionQueryEngine` is not used: it takes any number of parts, silently drops a part whose model
    call fails, and returns the parts' answers as sources, with citations that use each part's own numbers.
    """
    split, model = SubQuestions(), conversational(parts.model)
    return RetrieverQueryEngine(
        PartsRetriever(parts, split=split),
        response_synthesizer=CombiningSynthesizer(parts, model=model, split=split) if model else synthesizer_for(parts),
        node_postprocessors=[*fitting(parts)],
        callback_manager=CallbackManager([]),
    )
