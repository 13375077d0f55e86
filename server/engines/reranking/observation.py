"""Rerankings as spans and metrics."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from config.telemetry import spans
from config.telemetry.metrics import RERANK_DURATION, RERANK_FAILURES
from server.engines.models.errors import ModelError
from server.engines.reranking.troubles import trouble_of

APPLIED = "applied"
NOT_ASKED = "circuit-open"


@contextmanager
def observed_rerank(provider: str, *, model: str, candidates: int) -> Iterator[None]:
    """Record a reranking: provider, model, number of passages, duration, outcome."""
    labels = {
        "gen_ai.operation.name": "rerank",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
    }
    attributes: dict[str, spans.Value] = {
        **labels,
        "footnote.candidates": candidates,
        "openinference.span.kind": "RERANKER",  # Arize Phoenix's names
        "reranker.model_name": model,
    }
    started = time.perf_counter()
    outcome = spans.CANCELLED
    with spans.span(f"rerank {model}", attributes=attributes) as span:
        try:
            yield
            outcome = APPLIED
        except ModelError as exc:
            outcome = trouble_of(exc)
            RERANK_FAILURES.add(1, {**labels, "footnote.outcome": outcome})
            raise
        finally:
            span.set_attribute("footnote.outcome", outcome)
            if outcome != NOT_ASKED:
                RERANK_DURATION.record(time.perf_counter() - started, {**labels, "footnote.outcome": outcome})
