"""The answer cache: repeated questions get the same answer while nothing that it depends on has changed.

A key covers everything that determines an answer: what the caller may see, the collection's generation and change
number, the question with all its options, and the fingerprint of models, settings and prompts. The change number is
read from the database before each lookup, so a document is never quoted after its deletion, or a change of its readers,
was committed, by whichever process. Answers are kept in this process's memory only.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from cachetools import TTLCache
from opentelemetry import trace

from config.telemetry.metrics import CACHE_LOOKUPS
from server.answers import Answer, Citation, EngineReport, Event, Question, Transcript, Usage, events_of
from server.principal import view_of_caller

if TYPE_CHECKING:
    from config.settings import CacheSettings
    from storage.collections.index_versions import IndexVersions
    from storage.generation import Generation

CITATION_BYTES = 2000
"""Memory of a citation besides its text: objects, location, scores."""

LOOKING_ELSEWHERE = frozenset({"router"})
"""Engines whose answers depend on other collections too, whose changes are not in the key."""

_STAGES = ("embed", "retrieve", "rerank", "generate")


class AnswerCache:
    """The cache. Use it from one event loop.

    Args:
        settings: size and time to live.
        versions: change numbers of the collections.
        fingerprint: of the models, settings and prompts.
        uncached: further engines whose answers are not cached: those of plug-ins depend on nobody knows what.
        clock: seconds.

    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        versions: IndexVersions,
        fingerprint: str,
        uncached: Container[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._uncached = uncached
        self._versions = versions
        self._fingerprint = fingerprint
        self._kept: TTLCache[str, Answer] = TTLCache(
            settings.answer_bytes, settings.answer_ttl, timer=clock, getsizeof=size_of
        )

    async def events(
        self,
        question: Question,
        *,
        find: Callable[[], Awaitable[Generation]],
        fresh: Callable[[], AsyncGenerator[Event, None]],
    ) -> AsyncGenerator[Event, None]:
        """Yield the answer about the generation that `find` returns: the cached one, or that of `fresh`."""
        generation = await find()
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
        """Return the key of a question's answer; None if it is not cached."""
        if (
            question.temperature or question.mode in LOOKING_ELSEWHERE or question.mode in self._uncached
        ):  # sampled answers are not cached
            return None
        version = await self._versions.of(generation)
        if version is None:
            return None
        state = [generation.tenant_id, generation.collection_id, generation.id, version, self._fingerprint]
        decided = json.dumps(
            [state, view_of_caller(), asdict(replace(question, whole=False))], sort_keys=True, default=_plain
        )
        return hashlib.sha256(decided.encode(errors="surrogatepass")).hexdigest()

    def _found(self, key: str) -> Answer | None:
        kept = self._kept.get(key)
        CACHE_LOOKUPS.add(1, {"footnote.cache": "given_answers", "footnote.result": "miss" if kept is None else "hit"})
        return kept

    def _keep(self, key: str, answer: Answer) -> None:
        if size_of(answer) <= self._kept.maxsize:
            self._kept[key] = answer


def is_good(answer: Answer, generation: Generation) -> bool:
    """Tell whether an answer may be cached: complete, written by a model, with every step of its engine successful."""
    reranked = answer.sources.rerank
    return (
        answer.done.finish_reason == "stop"
        and bool(answer.answer)
        and (answer.sources.collection, answer.sources.generation) == (generation.collection, generation.name)
        and (reranked is None or reranked.applied)
        and (answer.done.engine is None or answer.done.engine.is_as_planned)  # else a step was skipped, or failed
    )


def again(answer: Answer, *, seconds: float) -> Answer:
    """Return an answer as served from the cache: without model calls, and with the time that the lookup took."""
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
    """Return an engine's report without model calls."""
    return replace(report, calls=0) if report else None


def size_of(answer: Answer) -> int:
    """Return an answer's approximate size in memory, in bytes."""
    passages: tuple[Citation, ...] = answer.sources.citations
    texts = [answer.answer, *(text for each in passages for text in (each.text, repr(each.metadata)))]
    # the citations of `done` share their texts with those of `sources`
    explained = answer.sources.explanation
    listed = 2 * len(passages) + (len(explained.candidates) if explained else 0)
    return sum(map(sys.getsizeof, texts)) + CITATION_BYTES * (listed + 1)


def _plain(value: object) -> object:
    """Return a filter in a form that JSON can encode."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump else repr(value)
