"""The service that turns a question into an answer with citations, whole or piece by piece."""

from __future__ import annotations

import copy
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar

from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle

from config.giving_way import LastAsked
from config.telemetry import spans
from server.answers import (
    Answer,
    Citation,
    Done,
    Event,
    FinishReason,
    Message,
    Question,
    Retrieved,
    Sources,
    Token,
    Turn,
    collect,
    is_blank,
)
from server.caches.vectors import QuestionVectors
from server.engines.abilities import check_schema, conversational
from server.engines.chat.history import History, chat_message
from server.engines.direct import answered, retrieved
from server.engines.llama_index import pieces_of
from server.engines.models.errors import ModelFailed
from server.engines.parts import NO_PLUG_INS, Conversation, Elsewhere, EngineParts, PlugIns
from server.engines.quoting.questions import likely_language_of, names_nothing
from server.engines.quoting.refusal import is_small_talk
from server.engines.record import Record, total_cost, total_usage
from server.engines.registry import build_chat_engine, build_engine
from server.engines.room import TokenCounter
from server.engines.trail import Trail
from server.engines.writing.attribution import ATTRIBUTED, QUOTED, UNATTRIBUTED, Attribution
from server.engines.writing.citations import CitationFilter
from server.engines.writing.prompts import summary_messages
from server.engines.writing.stopping import before_stop
from server.errors import RerankUnavailable
from server.limits.budgets import asking_about
from server.plug_ins.guards import Guards
from server.services.cited import citations_of
from server.services.direct import direct_events
from server.services.explanations import explanation_of
from server.services.observation import Observation, Operation
from server.waiting.turns import Turns
from storage.errors import TableGone
from storage.search.word_weights import WordWeights
from storage.vector_store import ChunkStore

if TYPE_CHECKING:
    from config.settings import Settings
    from embedding.embedder import Embedder
    from server.caches.answers import AnswerCache
    from server.engines.models.model import LanguageModel
    from server.engines.pinned import Pinned
    from server.engines.reranking.reranker import Reranker
    from server.services.evidence import EvidenceRecord
    from server.services.pinned_generations import PinnedGenerations
    from storage.database import Database
    from storage.generation import Generation

Result = TypeVar("Result")
NOTHING_FOUND = {
    "english": "I found nothing about this in the documents of this collection.",
    "french": "Je n'ai rien trouvé à ce sujet dans les documents de cette collection.",
    "german": "Dazu habe ich in den Dokumenten dieser Sammlung nichts gefunden.",
    "spanish": "No encontré nada sobre esto en los documentos de esta colección.",
}
SMALL_TALK = {
    "english": "Ask me something about the documents of this collection.",
    "french": "Posez-moi une question sur les documents de cette collection.",
    "german": "Fragen Sie mich etwas zu den Dokumenten dieser Sammlung.",
    "spanish": "Pregúnteme algo sobre los documentos de esta colección.",
}
NAMES_NOTHING = {
    "english": "The question has no word to look for. Name what it is about.",
    "french": "La question ne contient aucun mot à chercher. Dites de quoi il s'agit.",
    "german": "In der Frage steht kein Wort, nach dem gesucht werden kann. Nennen Sie, worum es geht.",
    "spanish": "La pregunta no tiene ninguna palabra que buscar. Diga de qué se trata.",
}
NO_MODEL = "none"
EXTRACTIVE = "extractive"
SUMMARY_TOKENS = 300
SEARCHES = 16
"""Searches at a time: two batches of the embedding model, and more than the pool has connections."""


class AnswerService:
    """Answers questions; each is pinned to the generation that was active when it came.

    Every method raises `FootnoteError`s only, apart from defects.
    """

    def __init__(
        self,
        database: Database,
        *,
        generations: PinnedGenerations,
        embedder: Embedder,
        model: LanguageModel | None,
        settings: Settings,
        reranker: Reranker | None = None,
        vectors: QuestionVectors | None = None,
        kept: AnswerCache | None = None,
        evidence: EvidenceRecord | None = None,
        plug_ins: PlugIns = NO_PLUG_INS,
        guards: Guards | None = None,
    ) -> None:
        """Take what is open; without `vectors` and `kept` each question is embedded, and answered, anew."""
        self._plug_ins = plug_ins
        self._guards = guards or Guards()
        self._database = database
        self._weights = WordWeights(database)
        self._generations = generations
        self._embedder = embedder
        self._model = model
        self._settings = settings
        self._reranker = reranker
        self._vectors = vectors or QuestionVectors(max_bytes=0)
        self._kept = kept
        self._evidence = evidence
        self._last_asked = LastAsked(settings.data_dir)
        self._turns = Turns(at_once=SEARCHES, max_wait=settings.server.max_wait)
        self.counter = TokenCounter(settings.llm.tokenizer or embedder.files.tokenizer_file)
        self._history = History(self.counter, settings=settings.chat)

    def over(self, generations: PinnedGenerations) -> Self:
        """Return the same service over other generations, whose answers nobody is shown."""
        other = copy.copy(self)
        other._generations, other._evidence = generations, None  # noqa: SLF001 (of our own)
        return other

    async def ask(self, question: Question, /) -> Answer:
        """Answer a question; cancelling the call cancels the model's."""
        return await collect(self.stream(question))

    async def retrieve(self, question: Question, /) -> Retrieved:
        """Find passages: `k` of them if there are so many, as no model has to read them."""
        observation = self._observed("retrieve", question)
        try:
            with spans.under(observation.span):
                retrieved = await self._retrieved(await self._admitted(question, observation))
            observation.found(retrieved)
        except BaseException as exc:
            observation.failed(exc)
            raise
        finally:
            observation.end()
        return retrieved

    def stream(self, question: Question, /) -> AsyncGenerator[Event, None]:
        """Answer piece by piece: `Sources`, any number of `Token`, `Done`; closing it cancels the model call."""
        observation = self._observed("query", question)
        if not self._guards:
            return observation.events(self._streamed(question))

        async def guarded() -> AsyncGenerator[Event, None]:
            events = self._streamed(await self._admitted(question, observation))
            async with aclosing(self._guards.events(events)) as passed:
                async for event in passed:
                    yield event

        return observation.events(guarded())

    def _streamed(self, question: Question) -> AsyncGenerator[Event, None]:
        if self._kept is None:
            return self._stream(question)
        find = partial(self._generation, question.collection)
        return self._kept.events(question, find=find, fresh=partial(self._stream, question))

    def chat(self, turn: Turn, /) -> AsyncGenerator[Event, None]:
        """Answer within a conversation that the caller keeps; as `stream` does."""
        observation = self._observed("chat", turn.question, conversation_id=turn.conversation_id)
        if not self._guards:
            return observation.events(self._chat(turn))

        async def guarded() -> AsyncGenerator[Event, None]:
            passed_turn = turn if turn.is_guarded else await self._admitted_turn(turn, observation)
            async with aclosing(self._guards.events(self._chat(passed_turn))) as passed:
                async for event in passed:
                    yield event

        return observation.events(guarded())

    async def admitted(self, question: Question, /) -> Question:
        """Return a question as the guards let it pass; for those who keep it before it is answered.

        Raises:
            GuardRefused: they do not.

        """
        return replace(question, question=await self._guards.question(question.question)) if self._guards else question

    async def _admitted(self, question: Question, observation: Observation) -> Question:
        """Return a question as the guards let it pass; what they do not is in no trace."""
        if self._guards:
            observation.asked = ""
            question = await self.admitted(question)
            observation.asked = question.question
        return question

    async def _admitted_turn(self, turn: Turn, observation: Observation) -> Turn:
        """Return a turn of a conversation that a client keeps: what its user said before passes the guards, too."""
        question = await self._admitted(turn.question, observation)
        history = [
            replace(said, content=await self._guards.question(said.content), tokens=None)
            if said.role == "user"
            else said
            for said in turn.history
        ]
        return replace(turn, question=question, history=tuple(history))

    def _observed(self, operation: Operation, question: Question, *, conversation_id: str | None = None) -> Observation:
        self._last_asked.note()
        return Observation(
            operation,
            question,
            conversation_id=conversation_id,
            evidence=self._evidence,
            plugged_in=self._plug_ins.chat_engines,
        )

    def direct(self, turn: Turn, /) -> AsyncGenerator[Event, None]:
        """Let the model answer without documents; as `chat` does."""
        return Observation("chat", turn.question).events(direct_events(self._model, turn))

    async def _retrieved(self, question: Question) -> Retrieved:
        async def found(parts: EngineParts) -> Sequence[NodeWithScore]:
            return await retrieved(build_engine(parts), QueryBundle(question.question))  # most of them retrieve

        started = time.perf_counter()
        async with AsyncExitStack() as stack:
            parts, nodes = await self._engaged(question, stack, found, retrieves_only=True)
            generation = parts.record.searched or parts.store.generation
            results = citations_of(nodes, parts.record)
            return Retrieved(
                results=results,
                collection=generation.collection,
                generation=generation.name,
                timings_ms=_timings(parts.record, started),
                rerank=parts.record.reranked,
                engine=parts.record.report(),
                explanation=explanation_of(parts.record, results),
            )

    @property
    def notes_tokens(self) -> int:
        """How much of a conversation can be summed up at once."""
        return self._model.context_window // 2 if self._model else 0

    async def require_collection(self, name: str, /) -> None:
        """Raise `CollectionNotFound` unless there is such a collection."""
        async with self._generations.pinned(name):
            pass

    async def summarize(self, history: Sequence[Message], /, *, summary: str) -> str:
        """Return notes of what was said, and of what an earlier summary says; empty where no chat model is at hand."""
        model = conversational(self._model)
        if model is None:
            return ""
        cut = (replace(message, content=message.content[: self.notes_tokens]) for message in history)
        conversation = Conversation(history=tuple(map(chat_message, cut)), summary=summary)
        return await model.reply(summary_messages(conversation), max_tokens=SUMMARY_TOKENS)

    async def _generation(self, collection: str) -> Generation:
        async with self._generations.pinned(collection) as pinned:
            return pinned.generation

    async def _stream(self, question: Question) -> AsyncGenerator[Event, None]:
        async def asked(parts: EngineParts) -> tuple[Any, bool]:
            engine = build_engine(parts)
            response = await answered(engine, QueryBundle(question.question))
            return response, isinstance(engine, RetrieverQueryEngine) or getattr(engine, "refuses", False)

        started = time.perf_counter()
        async with AsyncExitStack() as stack:
            parts, (response, refuses) = await self._engaged(question, stack, asked)
            citations = citations_of(response.source_nodes, parts.record)
            events = self._events(parts, citations, pieces_of(response), started=started, refuses=refuses)
            del response  # with its nodes, which take more than all the rest of a stream
            await stack.enter_async_context(aclosing(events))
            async for event in events:
                yield event

    async def _chat(self, turn: Turn) -> AsyncGenerator[Event, None]:
        async def asked(parts: EngineParts) -> tuple[Any, bool]:
            parts = replace(parts, conversation=self._history.fitted(turn, model=self._model))
            engine = build_chat_engine(parts)
            response = await engine.astream_chat(turn.question.question, list(parts.conversation.history))
            return response, getattr(engine, "refuses", False)

        started = time.perf_counter()
        async with AsyncExitStack() as stack:
            parts, (response, refuses) = await self._engaged(turn.question, stack, asked)
            citations = citations_of(response.source_nodes, parts.record)
            events = self._events(parts, citations, response.async_response_gen(), started=started, refuses=refuses)
            del response  # see `_stream`
            await stack.enter_async_context(aclosing(events))
            async for event in events:
                yield event

    async def _engaged(
        self,
        question: Question,
        stack: AsyncExitStack,
        ask: Callable[[EngineParts], Awaitable[Result]],
        *,
        retrieves_only: bool = False,
    ) -> tuple[EngineParts, Result]:
        """Pin the question to a generation for as long as the stack is open, and ask an engine.

        A generation that was dropped by the time it is searched has a successor: that one is asked.
        """
        if question.rerank and self._settings.rerank.provider == "none":
            raise RerankUnavailable
        if not retrieves_only:
            check_schema(question, self._model)
        asking_about(question.collection)
        for may_retry in (True, False):
            pinned = await stack.enter_async_context(self._generations.pinned(question.collection))
            parts = replace(self._parts(question, pinned, stack), retrieves_only=retrieves_only)
            try:
                return parts, await ask(parts)
            except TableGone:
                if not may_retry:
                    raise
                await self._generations.refresh()
        raise AssertionError

    async def _events(
        self,
        parts: EngineParts,
        citations: tuple[Citation, ...],
        pieces: AsyncGenerator[str, None],
        *,
        started: float,
        refuses: bool,
    ) -> AsyncGenerator[Event, None]:
        """Turn an engine's citations and its text into events; one that `refuses` says so where nothing was found."""
        record = parts.record
        generation = record.searched or parts.store.generation
        async with aclosing(pieces):
            yield Sources(
                citations,
                _sources(citations),
                collection=generation.collection,
                generation=generation.name,
                rerank=record.reranked,
                standalone_question=record.standalone_question,
                engine=record.report(),
                explanation=explanation_of(record, citations),
            )
            if not citations and refuses:  # the generator has not begun, and never will
                yield Token(nothing_found(parts.question.question, parts.store.generation.chunking.language))
                yield self._done(record, started, "no_context", citations, cited=set())
                return
            written = _written(citations, parts, language=generation.chunking.language)
            generating = time.perf_counter()
            async with aclosing(written.events(pieces, record)) as events:
                async for event in events:
                    yield event
            if text := await written.footnote():
                yield Token(text)
        if record.refused:
            yield Token(nothing_found(parts.question.question, parts.store.generation.chunking.language))
            yield self._done(record, started, "no_context", (), cited=set())
            return
        if not written.has_text and not record.extracted:  # a quotation may be cut before its first word
            raise _empty(record)
        record.timings_ms["generate"] = (time.perf_counter() - generating) * 1000
        yield self._done(record, started, _finish_reason(record), citations, cited=written.cited)

    @asynccontextmanager
    async def _visited(self, parts: EngineParts, collection: str) -> AsyncIterator[EngineParts]:
        async with self._generations.pinned(collection) as pinned:
            yield replace(
                parts,
                question=replace(parts.question, collection=collection),
                store=self._store_of(pinned),
                pinned=pinned,
                embedder=pinned.embedder or self._embedder,
            )

    def _store_of(self, pinned: Pinned) -> ChunkStore:
        settings = self._settings.retrieval
        return ChunkStore(self._database, generation=pinned.generation, settings=settings, weights=self._weights)

    def _parts(self, question: Question, pinned: Pinned, kept: AsyncExitStack) -> EngineParts:
        return EngineParts(
            question=question,
            store=self._store_of(pinned),
            pinned=pinned,
            embedder=pinned.embedder or self._embedder,
            model=self._model,
            settings=self._settings,
            reranker=self._reranker,
            vectors=self._vectors,
            turns=self._turns,
            record=Record(engine=question.mode, trail=Trail() if question.explain else None),
            elsewhere=Elsewhere(visit=self._visited, kept=kept),
            plug_ins=self._plug_ins,
        )

    def _done(
        self, record: Record, started: float, reason: FinishReason, citations: Sequence[Citation], *, cited: set[int]
    ) -> Done:
        marked = tuple(replace(citation, cited=citation.id in cited) for citation in citations)
        finish = record.finish
        if reason == "no_context":
            model = NO_MODEL
        elif record.extracted:
            model = EXTRACTIVE
        else:
            ours = self._model.name if self._model else NO_MODEL
            model = finish.model if finish else record.author or ours
        return Done(
            finish_reason=reason,
            model=model,
            usage=total_usage(record.usage, finish.usage if finish else None),
            cost_usd=total_cost(record.cost_usd, finish.cost_usd if finish else None),
            timings_ms=_timings(record, started),
            citations=marked,
            sources=_sources([citation for citation in marked if citation.cited] or marked),
            engine=record.report(),
        )


def _written(citations: Sequence[Citation], parts: EngineParts, *, language: str) -> _Written:
    kind = _Written if parts.question.json_schema is None else _Structured
    return kind(citations, parts, language=language)


class _Written:
    """What an engine writes, as it comes, with its citations.

    Attributes:
        has_text: whether any word of it is the answer.

    """

    def __init__(self, citations: Sequence[Citation], parts: EngineParts, *, language: str) -> None:
        self._passages = [citation.text for citation in citations]
        read = (f"{citation.title}\n{citation.heading or ''}\n{citation.text}" for citation in citations)  # if need be
        self._parts = parts
        self._attribution = Attribution(read, language=language, question=parts.question.question)
        self._markers = CitationFilter(self._passages, checked=self._checked)
        self.has_text = False

    @property
    def cited(self) -> set[int]:
        """The numbers of the passages that it cites."""
        return self._markers.cited

    async def events(self, pieces: AsyncIterator[str], record: Record) -> AsyncGenerator[Event, None]:
        """Yield the text and the reasoning."""
        async for piece in pieces:
            for thought in record.new_thoughts():
                if thought.retracts:
                    self._markers = CitationFilter(self._passages, checked=self._checked)
                    self.has_text = False
                yield thought
            if text := self._markers.feed(piece):
                self.has_text = self.has_text or not is_blank(text)
                yield Token(text)
        if text := self._markers.end().rstrip():
            self.has_text = self.has_text or not is_blank(text)
            yield Token(text)

    def _checked(self, sentence: str, numbers: Sequence[int]) -> Sequence[int]:
        """Return the numbers of the passages that have a sentence; quotations have theirs, and are not looked at."""
        if self._parts.record.extracted or self._parts.settings.llm.constrained:
            return numbers
        return self._attribution.checked(sentence, numbers)

    async def footnote(self) -> str:
        """Return the footnote that a model left out: of the passage that has what it wrote, else of a quotation.

        The notes say which.
        """
        record = self._parts.record
        if not self.has_text or not self._passages or self.cited or record.refused or record.extracted:
            return ""
        number = self._attribution.behind(self._markers.prose)
        if number is not None:
            record.note(ATTRIBUTED)
            self.cited.add(number)
            return f" [{number}]"
        quotation = await record.quote() if record.quote and not self._is_full(record) else None
        text = f"\n\n{quotation.text}" if quotation else ""
        if quotation is None or before_stop(text, self._parts.question.stop) != text:
            record.note(UNATTRIBUTED)
            return ""
        record.note(QUOTED)
        self.cited.add(quotation.number)
        return text

    def _is_full(self, record: Record) -> bool:
        """Tell whether the answer is as long as the request lets it be; the settings' limit is for the model alone."""
        is_cut = record.finish is not None and record.finish.finish_reason == "length"
        return is_cut and self._parts.question.max_tokens is not None


class _Structured(_Written):
    """JSON by the request's schema, as it was written: it has no footnotes."""

    async def events(self, pieces: AsyncIterator[str], record: Record) -> AsyncGenerator[Event, None]:
        """Yield the JSON and the reasoning."""
        async for piece in pieces:
            for thought in record.new_thoughts():
                yield thought
            if piece:
                self.has_text = True
                yield Token(piece)

    async def footnote(self) -> str:
        """Return nothing."""
        return ""


def nothing_found(question: str, language: str) -> str:
    """Return the sentence that stands for an answer which the documents do not hold, in the question's language.

    Where its words do not tell, that is the collection's `language`; English, where there is no sentence in it.
    """
    sentences = NAMES_NOTHING if names_nothing(question) else NOTHING_FOUND
    sentences = SMALL_TALK if is_small_talk(question) else sentences
    return sentences.get(likely_language_of(question) or language, sentences["english"])


def _empty(record: Record) -> ModelFailed:
    """Return the error for an answer without a word."""
    if record.finish is not None and record.finish.finish_reason == "length":
        return ModelFailed("the model reached its token limit before it wrote an answer; ask with a higher max_tokens")
    return ModelFailed("the model wrote an empty answer")


def _finish_reason(record: Record) -> FinishReason:
    if record.extracted:
        return "length" if record.cut else "extractive"
    return record.finish.finish_reason if record.finish else "stop"


def _sources(citations: Sequence[Citation]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(citation.source for citation in citations))


def _timings(record: Record, started: float) -> dict[str, float]:
    timings = {**record.timings_ms, "total": (time.perf_counter() - started) * 1000}
    timings.setdefault("generate", 0.0)
    return {name: round(value, 3) for name, value in timings.items()}
