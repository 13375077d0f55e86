"""The server's reranker: any LlamaIndex postprocessor, bounded in time; its failures never fail a question.

A `RerankSource` makes LlamaIndex postprocessors that rank. `Reranker` is what engines use: it bounds their time,
validates their output, and keeps the original order if they fail.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol

import structlog
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle

from server.answers import Reranked
from server.engines.models.breaker import CircuitBreaker
from server.engines.models.errors import ModelError, ModelFailed, ModelRefused, ModelTimeout
from server.engines.reranking.observation import observed_rerank
from server.engines.reranking.order import in_order
from server.engines.reranking.postprocessor import Reranking
from server.engines.reranking.troubles import trouble_of

if TYPE_CHECKING:
    from config.settings import RerankSettings
    from server.engines.parts import EngineParts

WARM_UP_SECONDS = 30
"""Timeout of the warm-up in seconds: a model's first call takes longer than later ones."""

_log = structlog.get_logger(__name__)


class RerankSource(Protocol):
    """An implementation of reranking; see `server.engines.reranking.choose` for the kinds."""

    @property
    def provider(self) -> str:
        """Name of the kind, as in the settings."""
        ...

    @property
    def model(self) -> str:
        """Name of the model, for people and telemetry."""
        ...

    def ranking(self, parts: EngineParts) -> BaseNodePostprocessor:
        """Return a postprocessor that returns passages best first, with scores; it may omit some."""
        ...

    async def warm_up(self) -> None:
        """Make a first call; raises what a ranking may raise."""
        ...

    async def close(self) -> None:
        """Close everything."""
        ...


class Reranker:
    """Reranks passages; one per process, used from one event loop, closed at the end.

    Attributes:
        breaker: skips reranking for a while after repeated failures.
        trouble: why the last call failed; None if it succeeded, or there was none.

    """

    def __init__(self, source: RerankSource, *, settings: RerankSettings) -> None:
        self._source = source
        self._settings = settings
        self.breaker = CircuitBreaker(
            f"rerank {source.provider}", failures=settings.breaker_failures, seconds=settings.breaker_seconds
        )
        self.trouble: str | None = None

    @property
    def model(self) -> str:
        """Name of the model."""
        return self._source.model

    @property
    def description(self) -> str:
        """One line for operators."""
        return f"passages are ranked by {self._source.model} ({self._source.provider})"

    @property
    def facts(self) -> dict[str, str | int]:
        """What that line tells, for programs."""
        return {"provider": self._source.provider, "model": self._source.model}

    def postprocessor(self, parts: EngineParts) -> BaseNodePostprocessor:
        """Return the postprocessor that reranks for one question."""
        rank = partial(self.ranked, ranking=self._source.ranking(parts))
        most = max(self._settings.candidates, parts.question.k)
        return Reranking(rank, model=self.model, record=parts.record, most=most)

    async def ranked(
        self, found: list[NodeWithScore], query: QueryBundle, *, ranking: BaseNodePostprocessor
    ) -> tuple[list[NodeWithScore], Reranked]:
        """Return passages in their new order, or in the original one, and the outcome. Never fails.

        `found` have different ids. Passages that the ranking omits come last, with the lowest score.
        """
        try:
            with observed_rerank(self._source.provider, model=self.model, candidates=len(found)):
                ranked = await self._guarded(found, query, ranking)
        except ModelError as exc:
            self._failed(exc)
            return found, Reranked(applied=False, model=self.model, candidates=len(found), reason=trouble_of(exc))
        self._went_well()
        return ranked, Reranked(applied=True, model=self.model, candidates=len(found))

    async def warm_up(self) -> None:
        """Warm up; if that fails, the server starts all the same."""
        try:
            async with asyncio.timeout(WARM_UP_SECONDS):
                await self._source.warm_up()
        except TimeoutError:
            self._failed(ModelTimeout(f"the reranker's warm-up took longer than {WARM_UP_SECONDS} seconds"))
        except ModelError as exc:
            self._failed(exc)

    async def close(self) -> None:
        """Close everything."""
        await self._source.close()

    async def _guarded(
        self, found: list[NodeWithScore], query: QueryBundle, ranking: BaseNodePostprocessor
    ) -> list[NodeWithScore]:
        with self.breaker.guarded():
            try:
                async with asyncio.timeout(self._settings.timeout):
                    # copies: a call that is given up half way may have changed some scores
                    copies = [NodeWithScore(node=each.node, score=each.score) for each in found]
                    ranked = await ranking.apostprocess_nodes(copies, query)
            except TimeoutError:
                raise self._too_slow() from None
            except ModelError:
                raise
            except Exception as exc:  # noqa: BLE001 (postprocessors raise anything; their messages may quote the text)
                raise _named(exc) from None
            return in_order(ranked, of=found)

    def _too_slow(self) -> ModelTimeout:
        return ModelTimeout(f"the reranker took longer than {self._settings.timeout:g} seconds")

    def _failed(self, error: ModelError) -> None:
        if self.trouble is None:
            _log.warning("passages are not reranked", model=self.model, reason=trouble_of(error), detail=error.detail)
        if not isinstance(error, ModelRefused):
            self.trouble = str(error)

    def _went_well(self) -> None:
        if self.trouble is not None:
            _log.info("passages are reranked again", model=self.model)
        self.trouble = None


def _named(error: Exception) -> ModelFailed:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return ModelFailed(f"the reranker failed ({type(error).__name__})", detail=type(error).__name__)
