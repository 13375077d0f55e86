"""Reasons why a reranking fails, as clients and metrics get them."""

from __future__ import annotations

from server.answers import RerankTrouble
from server.engines.models.errors import (
    ModelError,
    ModelFailed,
    ModelRateLimited,
    ModelRefused,
    ModelRejected,
    ModelTimeout,
    ModelUnavailable,
)


class RerankNonsense(ModelFailed):
    """The reranker's output is no valid ranking of the given passages."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retryable=False)


# the first that fits
_TROUBLES: tuple[tuple[type[ModelError], RerankTrouble], ...] = (
    (ModelRefused, "circuit-open"),
    (ModelRateLimited, "rate-limited"),
    (ModelUnavailable, "unavailable"),
    (ModelTimeout, "timeout"),
    (ModelRejected, "rejected"),
    (RerankNonsense, "nonsense"),
)


def trouble_of(error: ModelError) -> RerankTrouble:
    """Return the reason for a failure."""
    return next((word for kind, word in _TROUBLES if isinstance(error, kind)), "failed")
