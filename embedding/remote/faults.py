"""What a provider's refusals and lost connections mean."""

from __future__ import annotations

import contextlib
import email.utils
import json
import math
import re
import time
from typing import TYPE_CHECKING

import httpx

from config.errors import FootnoteError
from embedding.errors import EmbeddingFailed, EmbeddingUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_RETRY_AFTER = 86_400.0
READ = 10_000  # bytes of a refusal
_SPENT = re.compile(r"insufficient_quota|billing|quota exceeded", re.IGNORECASE)
_DIMENSIONS = re.compile(r"dimension|matryoshka", re.IGNORECASE)
_TOO_LONG = re.compile(r"too (long|large|many)|context|maximum.{0,20}(length|tokens|batch)|exceed", re.IGNORECASE)


class TimedOut(EmbeddingUnavailable):
    """No answer came in time: the server is slow, or was asked for too much at once."""


class RateLimited(EmbeddingUnavailable):
    """The provider asks for fewer requests; it is up."""


class TooLarge(EmbeddingFailed):
    """The provider refuses the request for its size."""


class NoDimensions(EmbeddingFailed):
    """The provider does not let us choose the dimension."""


def refusal(status: int, *, said: str, wait: float | None) -> FootnoteError:  # noqa: PLR0911 (a table)
    """Return the error for an answer that is no success; what was `said` may quote texts, and is not repeated."""
    if status == httpx.codes.TOO_MANY_REQUESTS and _SPENT.search(said):
        return EmbeddingUnavailable("the embedding provider's account has no credit left", retryable=False)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited("the embedding provider limits our rate", retry_after=wait)
    if status in {401, 403}:
        return EmbeddingUnavailable(f"the embedding provider does not accept the key ({status})", retryable=False)
    if status in {404, 405}:
        msg = f"the embedding provider knows no such model or address ({status}); check MODEL and BASE_URL"
        return EmbeddingUnavailable(msg, retryable=False)
    if status == httpx.codes.GATEWAY_TIMEOUT:
        return TimedOut(
            f"the embedding server did not answer the gateway before it in time ({status})", retry_after=wait
        )
    if status in {408, 425} or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        return EmbeddingUnavailable(f"the embedding server failed with status {status}", retry_after=wait)
    if _DIMENSIONS.search(said):
        return NoDimensions(f"the embedding provider refused the dimension ({status})")
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE or _TOO_LONG.search(said):
        return TooLarge(f"the embedding provider refused a text as too long ({status}); see EMBEDDING__MAX_TOKENS")
    return EmbeddingFailed(f"the embedding provider refused the request ({status})")


def unreached(error: Exception) -> EmbeddingUnavailable:
    """Return the error for a request that got no whole answer."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return EmbeddingUnavailable("the embedding server cannot be reached")
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return TimedOut("the embedding server did not answer in time")
    if isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL):
        return EmbeddingUnavailable("the embedding server's BASE_URL cannot be used", retryable=False)
    return EmbeddingUnavailable("the connection to the embedding server was lost")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for: a number, a date, or OpenAI's ``-ms``."""
    with contextlib.suppress(KeyError, ValueError):
        return _bounded(float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return _bounded(float(value))
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        return _bounded(email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _bounded(seconds: float) -> float | None:
    return None if math.isnan(seconds) else min(max(0.0, seconds), MAX_RETRY_AFTER)


def said_in(body: bytes) -> str:
    """Return what a refusal says: JSON's ``error``, or text."""
    text = body[:READ].decode(errors="replace")
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(text)
        return json.dumps(said.get("error", said) if isinstance(said, dict) else said)
    return text
