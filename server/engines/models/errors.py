"""Errors of calling a language model.

    ModelError
    ├── ModelUnavailable      no answer: refused, DNS, TLS, connection lost before an answer, still starting
    │   ├── ModelRateLimited  429, after our retries
    │   ├── ModelRefused      not called: the circuit breaker is open
    │   └── ModelBusy         not called: our own queue is full
    ├── ModelFailed           an invalid answer: 5xx, HTML, no choices, a cut stream, malformed JSON
    ├── ModelRejected         the request is refused for good: key, model name, length, content filter
    └── ModelTimeout          a timeout of the settings was exceeded

`str(error)` never quotes the provider. Its own message, which may quote the prompt, is in `detail`, for the log only.
"""

from __future__ import annotations

from config.errors import FootnoteError

DETAIL_CHARS = 300


class ModelError(FootnoteError):
    """A call of a language model failed.

    Attributes:
        retryable: whether the same request may succeed later.
        detail: the provider's message, at most `DETAIL_CHARS` characters on one line; for the log, never for a client.

    """

    slug = "model-failed"
    retryable: bool = True

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = " ".join(detail.split())[:DETAIL_CHARS]


class ModelUnavailable(ModelError):
    """The provider cannot be reached; `retry_after` is in seconds."""

    slug = "model-unavailable"

    def __init__(self, message: str, *, retry_after: int = 2, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retry_after = retry_after


class ModelRateLimited(ModelUnavailable):
    """The provider's rate limit is reached; `retry_after` is the provider's, where it named one.

    Attributes:
        wait: the exact seconds that the provider named, or None.

    """

    def __init__(self, message: str, *, wait: float | None = None, detail: str = "") -> None:
        super().__init__(message, retry_after=max(1, round(wait + 0.5)) if wait is not None else 5, detail=detail)
        self.wait = wait


class ModelRefused(ModelUnavailable):
    """The model was not called: the circuit breaker is open."""

    was_logged = True  # when the breaker opened


class ModelBusy(ModelUnavailable):
    """The model was not called: its queue is full, and an immediate retry would find it full again."""


class ModelFailed(ModelError):
    """The provider answered with an error, or with something that cannot be read as an answer."""

    slug = "model-failed"

    def __init__(self, message: str, *, retryable: bool = True, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retryable = retryable


class ModelRejected(ModelError):
    """The provider refused the request; the message says what to change."""

    slug = "model-rejected"
    retryable = False


class ModelTimeout(ModelError):
    """A token, or the whole answer, took longer than the settings allow."""

    slug = "deadline-exceeded"
