"""Errors of calls to a language model.

    ModelError
    ├── ModelUnavailable      not reachable: refused, DNS, TLS, lost before an answer, still starting
    │   ├── ModelRateLimited  429, after our retries
    │   ├── ModelRefused      the circuit breaker is open
    │   └── ModelBusy         our own queue for it is full
    ├── ModelFailed           a wrong answer: 5xx, HTML, no choices, a cut stream, malformed JSON
    ├── ModelRejected         the request was refused, and would be again: key, name, length
    │   ├── ModelFiltered     the provider's content filter stopped the answer
    │   └── ModelTooLong      the prompt is longer than the model reads
    └── ModelTimeout          it took longer than the settings allow

`str(error)` is our own text, safe to show. What the provider said is in `detail`, for the log: it may quote the prompt.
"""

from __future__ import annotations

from math import ceil

from config.errors import FootnoteError

DETAIL_CHARS = 300


class ModelError(FootnoteError):
    """A call to a language model failed.

    Attributes:
        retryable: whether the same request may succeed later.
        tries: how often the provider was asked.
        detail: what the provider said, at most `DETAIL_CHARS` characters on one line; for the log, never for a client.

    """

    slug = "model-failed"
    retryable: bool = True
    tries = 1

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
    """The provider's rate limit was reached; `retry_after` is the pause that it asks for, if it says so.

    Attributes:
        wait: the exact seconds that the provider named, or None.

    """

    slug = "rate-limited"

    def __init__(self, message: str, *, wait: float | None = None, detail: str = "") -> None:
        super().__init__(message, retry_after=max(1, ceil(wait)) if wait is not None else 5, detail=detail)
        self.wait = wait


class ModelRefused(ModelUnavailable):
    """The call was not made, because the circuit breaker is open."""

    was_logged = True  # when the breaker opened


class ModelBusy(ModelUnavailable):
    """More questions wait for the model than it can answer in time; retrying at once is useless."""


class ModelFailed(ModelError):
    """The provider answered with an error, or with something other than an answer."""

    slug = "model-failed"

    def __init__(self, message: str, *, retryable: bool = True, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.retryable = retryable


class ModelRejected(ModelError):
    """The provider refused the request; the message says what to change.

    Attributes:
        kinds: the provider's ``code`` and ``type`` of it, those that it names.
        parameter: the parameter of the request that it refuses, if it names one as such.

    """

    slug = "model-rejected"
    retryable = False

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message, detail=detail)
        self.kinds: frozenset[str] = frozenset()
        self.parameter = ""


class ModelFiltered(ModelRejected):
    """The provider's content filter stopped the answer."""


class ModelTooLong(ModelRejected):
    """The prompt is longer than the model reads."""


class ModelTimeout(ModelError):
    """A token, or the whole answer, took longer than the settings allow."""

    slug = "deadline-exceeded"
