"""Answers that are given again while nothing has changed that they came from.

A key holds whatever decides an answer: the collection's generation and the number of its last change, the question
with all its options, and the ground it was answered on: models, settings, prompts. The number is read from the
database before each look, so that a document is quoted no more from the moment on that its deletion was committed,
whichever process did that. Answers are kept in this process's memory alone.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from cachetools import TTLCache
from opentelemetry import trace

from config.telemetry.metrics import CACHE_LOOKUPS
from server.answers import Answer, Citation, EngineReport, Event, Question, Transcript, Usage, events_of

if TYPE_CHECKING:
    from config.settings import CacheSettings
    from storage.collections.index_versions import IndexVersions
    from storage.generation import Generation

CITATION_BYTES = 2000
"""What a citation takes beside its text: the objects, its place and its scores."""

LOOKING_ELSEWHERE = frozenset({"router"})
"""Engines whose answers depend on other collections too, of whose changes a key knows nothing."""

_STAGES = ("embed", "retrieve", "rerank", "generate")


class AnswerCache:
    """Gives answers again. Use it from one event loop.

    Args:
        settings: how much is kept, and for how long.
        versions: of the collections.
        fingerprint: what all answers of this process have in common: models, settings, prompts.
        clock: in seconds.

    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        versions: IndexVersions,
        fingerprint: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._versions = versions
        self._fingerprint = fingerprint
        self._kept: TTLCache[str, Answer] = TTLCache(
            settings.answer_bytes, settings.answer_ttl, timer=clock, getsizeof=size_of
        )

    async def events(
        self, question: Question, *, generation: Generation, fresh: Callable[[], AsyncGenerator[Event, None]]
    ) -> AsyncGenerator[Event, None]:
        """Answer a question about a generation, again or by `fresh`, which is kept if it is good for others."""
        started = time.perf_counter()
        key = await self._key(question, generation)
        kept = self._found(key) if key else None
        if kept is not None:
            trace.get_current_span().set_attribute("footnote.cache_hit", True)
            for event in [event async for event in events_of(again(kept, seconds=time.perf_counter() - started))]:
                yield event
            return
        transcript = Transcript()
        async with aclosing(fresh()) as events:
            async for event in events:
                answer = transcript.add(event) if key else None
                if answer is not None and is_good(answer, generation):
                    self._keep(key or "", answer)
                yield event

    async def _key(self, question: Question, generation: Generation) -> str | None:
        """Return the key of a question's answer; None where its answer is not given to others."""
        if question.temperature or question.mode in LOOKING_ELSEWHERE:  # who asks for chance gets it
            return None
        version = await self._versions.of(generation)
        if version is None:
            return None
        state = [generation.tenant_id, generation.collection_id, generation.id, version, self._fingerprint]
        decided = json.dumps([state, asdict(question)], sort_keys=True, default=_plain)
        return hashlib.sha256(decided.encode(errors="surrogatepass")).hexdigest()

    def _found(self, key: str) -> Answer | None:
        kept = self._kept.get(key)
        CACHE_LOOKUPS.add(1, {"footnote.cache": "given_answers", "footnote.result": "miss" if kept is None else "hit"})
        return kept

    def _keep(self, key: str, answer: Answer) -> None:
        if size_of(answer) <= self._kept.maxsize:
            self._kept[key] = answer


def is_good(answer: Answer, generation: Generation) -> bool:
    """Tell whether an answer may be given to others: whole, written by a model, with all that was to be done for it."""
    reranked = answer.sources.rerank
    return (
        answer.done.finish_reason == "stop"
        and bool(answer.answer)
        and (answer.sources.collection, answer.sources.generation) == (generation.collection, generation.name)
        and (reranked is None or reranked.applied)
        and not (answer.done.engine and answer.done.engine.notes)  # something was left out, or could not be done
    )


def again(answer: Answer, *, seconds: float) -> Answer:
    """Return an answer as it is given again: no model was called for it, and it took as long as it took."""
    timings = dict.fromkeys(_STAGES, 0.0) | {"total": round(seconds * 1000, 3)}
    return Answer(
        answer.answer,
        sources=replace(answer.sources, cached=True, engine=_idle(answer.sources.engine)),
        done=replace(
            answer.done,
            usage=Usage(0, 0, 0),
            cost_usd=0.0,
            timings_ms=timings,
            engine=_idle(answer.done.engine),
        ),
    )


def _idle(report: EngineReport | None) -> EngineReport | None:
    """Return what an engine did, but for calls of the model: none was made."""
    return replace(report, calls=0) if report else None


def size_of(answer: Answer) -> int:
    """Return about how many bytes of memory an answer takes."""
    passages: tuple[Citation, ...] = answer.sources.citations
    texts = [answer.answer, *(text for each in passages for text in (each.text, repr(each.metadata)))]
    # those of `done` share their texts with those of `sources`
    return sum(map(sys.getsizeof, texts)) + 2 * CITATION_BYTES * len(passages) + CITATION_BYTES


def _plain(value: object) -> object:
    """Return what JSON can write of a filter."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump else repr(value)
