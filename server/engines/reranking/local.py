"""A cross-encoder on this machine, on threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import structlog

from embedding.model_threads import ModelThreads
from server.engines.models.errors import ModelFailed
from server.engines.reranking.cross_encoder import Scorer
from server.engines.reranking.exports import find_cross_encoder, load_scorer
from server.engines.reranking.postprocessor import ScoredRanking

if TYPE_CHECKING:
    from llama_index.core.postprocessor.types import BaseNodePostprocessor

    from config.settings import Settings
    from server.engines.parts import EngineParts

_log = structlog.get_logger(__name__)


class LocalRerank:
    """A `RerankSource` that runs a model.

    A question's passages go through it a few at a time, so that several questions take turns, and nothing more is
    computed for one that has been given up than what is under way.
    """

    provider = "local"

    def __init__(self, scorer: Scorer, *, model: str) -> None:
        self.model = model
        self._scorer = scorer
        self._threads = ModelThreads(scorer.threads, name="rerank")

    def ranking(self, parts: EngineParts) -> BaseNodePostprocessor:
        """See `RerankSource.ranking`."""
        del parts
        return ScoredRanking(self.scores)

    async def warm_up(self) -> None:
        """Run the model once."""
        await self.scores("warm-up", ["warm-up"])

    async def close(self) -> None:
        """Let the calls in hand finish and end the threads."""
        await asyncio.to_thread(self._threads.close)

    async def scores(self, question: str, passages: Sequence[str]) -> list[float]:
        """Return the passages' scores.

        Raises:
            ModelFailed: the model failed.

        """
        try:
            return await self._scores(question, passages)
        except Exception as exc:  # noqa: BLE001 (the backends raise whatever they like; their messages may quote the text)
            error = type(exc.exceptions[0] if isinstance(exc, ExceptionGroup) else exc).__name__
            _log.exception("reranking failed", passages=len(passages), error=error)
            msg = f"the reranker {self.model} failed ({error})"
            raise ModelFailed(msg, detail=error) from None

    async def _scores(self, question: str, passages: Sequence[str]) -> list[float]:
        batches = await self._threads.call(self._scorer.batches, question, passages)
        scores = np.empty(len(passages), dtype=np.float64)
        await self._threads.fill(scores, batches, run=self._scorer.scores)
        return [float(score) for score in scores]


def open_local(settings: Settings) -> LocalRerank:
    """Load the cross-encoder that the settings name; the first time it is exported, which takes half a minute.

    Raises:
        SettingsError: there is no such model, or it cannot be run.

    """
    files = find_cross_encoder(settings)
    scorer, backend = load_scorer(files, settings=settings)
    _log.info("reranker loaded", model=files.name, backend=backend)
    return LocalRerank(scorer, model=files.name)
