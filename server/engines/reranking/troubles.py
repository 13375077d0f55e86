"""How a reranking goes wrong, in the words that clients and metrics get."""

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
    """What ranks has said something that is no order of the passages it was given."""

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
    """Return the word for a failure."""
    return next((word for kind, word in _TROUBLES if isinstance(error, kind)), "failed")
