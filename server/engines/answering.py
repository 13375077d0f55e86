"""The service that turns a question into an answer with citations, whole or piece by piece."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import AsyncStreamingResponse
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.answers import Answer, Citation, Done, FinishReason, Question, Retrieved, Sources, Token
from server.engines.citations import CitationFilter
from server.engines.parts import EngineParts, Record
from server.engines.registry import build_engine
from server.errors import RerankUnavailable
from storage.chunks import ChunkStore
from storage.collections import Collections, Generation

if TYPE_CHECKING:
    from config.settings import Settings
    from ingestion.embedding import Embedder
    from server.engines.models.model import LanguageModel
    from storage.database import Database

NOTHING_FOUND = "I found nothing about this in the documents of this collection."
NO_MODEL = "none"
EXTRACTIVE = "extractive"


class AnswerService:
    """Answers questions; each is pinned to the generation that was active when it came.

    Every method raises `FootnoteError`s only, apart from defects.
    """

    def __init__(
        self, database: Database, *, embedder: Embedder, model: LanguageModel | None, settings: Settings
    ) -> None:
        self._database = database
        self._collections = Collections(database)
        self._embedder = embedder
        self._model = model
        self._settings = settings

    async def ask(self, question: Question, /) -> Answer:
        """Answer a question; cancelling the call cancels the model's."""
        pieces: list[str] = []
        sources: Sources | None = None
        async with aclosing(self.stream(question)) as events:
            async for event in events:
                if isinstance(event, Token):
                    pieces.append(event.text)
                elif isinstance(event, Sources):
                    sources = event
                else:
                    done = event
        assert sources is not None  # noqa: S101 (the stream's contract)
        return Answer("".join(pieces).strip(), collection=sources.collection, generation=sources.generation, done=done)

    async def retrieve(self, question: Question, /) -> Retrieved:
        """Find passages, call no model."""
        started = time.perf_counter()
        engine, record, generation = await self._open(question)
        nodes = await engine.aretrieve(QueryBundle(question.question))  # type: ignore[attr-defined] # of most engines
        return Retrieved(
            results=_citations(nodes, record),
            collection=generation.collection,
            generation=generation.name,
            timings_ms=_timings(record, started),
        )

    async def stream(self, question: Question, /) -> AsyncGenerator[Sources | Token | Done, None]:
        """Answer piece by piece: `Sources`, any number of `Token`, `Done`; closing it cancels the model call."""
        started = time.perf_counter()
        engine, record, generation = await self._open(question)
        response: Any = await engine.aquery(QueryBundle(question.question))
        citations = _citations(response.source_nodes, record)
        yield Sources(citations, _sources(citations), collection=generation.collection, generation=generation.name)
        if not citations and isinstance(engine, RetrieverQueryEngine):  # its generator has not begun, and never will
            yield Token(NOTHING_FOUND)
            yield self._done(record, started, "no_context", citations, cited=set())
            return
        markers = CitationFilter(len(citations))
        generating = time.perf_counter()
        async with aclosing(_pieces(response)) as pieces:
            async for piece in pieces:
                if text := markers.feed(piece):
                    yield Token(text)
        if text := markers.end().rstrip():
            yield Token(text)
        record.timings_ms["generate"] = (time.perf_counter() - generating) * 1000
        yield self._done(record, started, _finish_reason(record), citations, cited=markers.cited)

    async def _open(self, question: Question) -> tuple[BaseQueryEngine, Record, Generation]:
        if question.rerank:
            raise RerankUnavailable
        generation = await self._collections.active(question.collection)
        record = Record()
        parts = EngineParts(
            question=question,
            store=ChunkStore(self._database, generation=generation, settings=self._settings.retrieval),
            embedder=self._embedder,
            model=self._model,
            settings=self._settings,
            record=record,
        )
        return build_engine(parts), record, generation

    def _done(
        self, record: Record, started: float, reason: FinishReason, citations: Sequence[Citation], *, cited: set[int]
    ) -> Done:
        marked = tuple(replace(citation, cited=citation.id in cited) for citation in citations)
        finish = record.finish
        if reason == "no_context":
            model = NO_MODEL
        elif reason == "extractive":
            model = EXTRACTIVE
        else:
            model = finish.model if finish else self._model.name if self._model else NO_MODEL
        return Done(
            finish_reason=reason,
            model=model,
            usage=finish.usage if finish else None,
            cost_usd=None,
            timings_ms=_timings(record, started),
            citations=marked,
            sources=_sources([citation for citation in marked if citation.cited] or marked),
        )


def _finish_reason(record: Record) -> FinishReason:
    if record.extracted:
        return "extractive"
    return record.finish.finish_reason if record.finish else "stop"


async def _pieces(response: Any) -> AsyncGenerator[str, None]:  # noqa: ANN401 (one of LlamaIndex's four response classes)
    """Yield a response's text; a plug-in engine may answer in one piece."""
    if not isinstance(response, AsyncStreamingResponse):
        yield str(response)
        return
    generator = response.response_gen  # itself, not LlamaIndex's wrapper: closing it must reach the model's connection
    try:
        async for piece in generator:
            yield piece
    finally:
        if isinstance(generator, AsyncGenerator):
            await generator.aclose()


def _citations(nodes: Sequence[NodeWithScore], record: Record) -> tuple[Citation, ...]:
    return tuple(_citation(number, node, record) for number, node in enumerate(nodes, start=1))


def _citation(number: int, found: NodeWithScore, record: Record) -> Citation:
    node = found.node
    metadata = dict(node.metadata)
    start = getattr(node, "start_char_idx", None) or 0
    text = node.get_content()
    return Citation(
        id=number,
        node_id=node.node_id,
        document_id=node.ref_doc_id or "",
        source=str(metadata.pop("source", "")),
        title=str(metadata.pop("title", "")),
        heading=metadata.pop("heading", None),
        page=metadata.pop("page", None),
        chunk_index=int(metadata.pop("chunk_index", 0)),
        text=text,
        score=float(found.score or 0.0),
        scores=record.scores.get(node.node_id, {}),
        start=start,
        end=getattr(node, "end_char_idx", None) or start + len(text),
        metadata=metadata,
    )


def _sources(citations: Sequence[Citation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(citation.source for citation in citations))


def _timings(record: Record, started: float) -> dict[str, float]:
    timings = {**record.timings_ms, "total": (time.perf_counter() - started) * 1000}
    timings.setdefault("generate", 0.0)
    return {name: round(value, 3) for name, value in timings.items()}
