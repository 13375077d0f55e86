"""Telling of the calls of an embedding model, wherever it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.trace import SpanKind

from config.errors import FootnoteError
from config.telemetry import spans
from config.telemetry.metrics import MODEL_DURATION, count_failed_call

PROVIDER = "sentence_transformers"


@contextmanager
def observed_call(
    model: str, *, dimension: int, texts: int, kind: SpanKind = spans.INTERNAL, provider: str = PROVIDER
) -> Iterator[None]:
    """Tell of a call, the wait for the model included; of its texts, how many they are."""
    labels: dict[str, str] = {
        "gen_ai.operation.name": "embeddings",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
    }
    attributes: dict[str, spans.Value] = {
        **labels,
        "gen_ai.embeddings.dimension.count": dimension,
        "footnote.texts": texts,
    }
    started = time.perf_counter()
    with spans.span(f"embeddings {model}", kind=kind, attributes=attributes):
        try:
            yield
        except FootnoteError as exc:
            labels["error.type"] = exc.slug
            count_failed_call(provider, exc.slug)
            raise
        finally:
            MODEL_DURATION.record(time.perf_counter() - started, labels)
