"""The one mapping from what the SDKs, httpx and Python raise to our own errors.

before the answer's head   openai.APIConnectionError, APITimeoutError      → `unreached`, by their cause
                           ConnectionError of ollama, httpx.TransportError → `unreached`
a status                   openai.APIStatusError and all its kinds         → `refused`, by the number
                           ollama.ResponseError                            → `refused`, by the number
an error in the stream     openai.APIError, ollama.ResponseError           → `refused`, by its code
within the answer          httpx.TransportError, a lost connection         → `broken`: may be tried again
                           ValueError (JSON, UTF-8, pydantic), LookupError,
                           TypeError, AttributeError, httpx.DecodingError  → `broken`: no use in trying again
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import math
import re
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from server.engines.models.errors import (
    ModelError,
    ModelFailed,
    ModelFiltered,
    ModelRateLimited,
    ModelRejected,
    ModelTooLong,
    ModelUnavailable,
)

UNNAMED = (httpx.HTTPError, ValueError, LookupError, TypeError, AttributeError)
"""What the SDKs let through: they read answers without validating them."""

FILTERS = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
"""Codes of errors by which providers refuse a prompt: OpenAI's and Azure's."""
FILTER_REASONS = frozenset(
    {
        "content_filter",
        "content_filtered",
        "guardrail_intervened",
        "refusal",
        "safety",
        "prohibited_content",
        "recitation",
        "blocklist",
        "spii",
    }
)
"""Reasons for an answer's end that say the same."""
_FILTERED = re.compile(r"content[ _-](filter|management polic|policy violation)|filtering policy", re.IGNORECASE)
"""What Anthropic and Azure say in a 400 that has no code of its own."""
TOO_LONG = "the question and its passages are more than the model reads; ask with a smaller k"
MAX_RETRY_AFTER = 86_400.0
"""Seconds; a provider that asks for more is asked again after a day."""

_TOO_LONG = re.compile(r"context|too (long|large|many)|maximum.{0,20}(length|tokens)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hints:
    """Advice for each refusal: names of settings, never their values."""

    address: str = "FOOTNOTE_LLM__BASE_URL"
    key: str = "FOOTNOTE_LLM__API_KEY"
    unknown_model: str = "check FOOTNOTE_LLM__MODEL and FOOTNOTE_LLM__BASE_URL"


def refused(error: object, response: httpx.Response | None, *, hints: Hints, key: str = "") -> ModelError:
    """Return the error for what a provider said, in a response or, if ``response`` is None, within a stream."""
    message, code, status = complaint(error)
    wait = None
    if response is not None:
        status, wait = response.status_code, retry_after(response.headers)
    detail = message.replace(key, "[key]") if key else message
    refusing = refusal(status, hints=hints, detail=detail, code=code, wait=wait)
    if isinstance(refusing, ModelRejected) and isinstance(error, dict):
        refusing.kinds = frozenset(str(error[name]) for name in ("code", "type") if error.get(name))
        refusing.parameter = str(error.get("param") or "")
    return refusing


def refusal(status: int, *, hints: Hints, detail: str, code: str, wait: float | None = None) -> ModelError:
    """Return the error for an HTTP status, or the same number within a stream."""
    if code in {"insufficient_quota", "billing_hard_limit_reached"}:
        return ModelRejected("the quota of the model's provider is used up; its account needs credit", detail=detail)
    if code in FILTERS or (status == httpx.codes.BAD_REQUEST and _FILTERED.search(detail)):
        return ModelFiltered("the content filter of the model's provider refused the request", detail=detail)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return ModelRateLimited("the model's provider is rate limiting us; try again later", wait=wait, detail=detail)
    if status >= httpx.codes.INTERNAL_SERVER_ERROR or status in {httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_EARLY}:
        return ModelFailed(f"the model's provider failed with status {status}", detail=detail)
    reason = _what_to_change(status, hints, detail, code)
    return (ModelTooLong if reason == TOO_LONG else ModelRejected)(reason, detail=detail)


def complaint(error: object) -> tuple[str, str, int]:
    """Return (message, code, status) of an ``error`` member in either protocol's shape; status 500 if it names none."""
    if not isinstance(error, dict):
        return str(error), "", 500
    code, status = error.get("code"), error.get("status")
    number = next((n for n in (code, status) if isinstance(n, int) and 400 <= n < 600), 500)  # noqa: PLR2004 (HTTP)
    return str(error.get("message") or error), str(code or error.get("type") or ""), number


def unreached(cause: BaseException | None) -> ModelUnavailable:
    """Return the error for a failure before the response's headers."""
    detail = type(cause).__name__
    if isinstance(cause, httpx.ConnectTimeout | httpx.PoolTimeout):
        return ModelUnavailable("the model's server did not accept the connection in time", detail=detail)
    if isinstance(cause, httpx.TimeoutException | TimeoutError):
        return ModelUnavailable("the model's server did not answer in time", detail=detail)
    if isinstance(cause, httpx.TransportError) and not isinstance(cause, httpx.ConnectError):
        return ModelUnavailable("the model's server closed the connection without an answer", detail=detail)
    return ModelUnavailable(_why_unreachable(cause), detail=detail)


def broken(error: Exception) -> ModelFailed:
    """Return the error for a failure within the response."""
    import pydantic

    detail = type(error).__name__
    if isinstance(error, httpx.TransportError):
        return ModelFailed("the connection to the model's server was lost within its answer", detail=detail)
    if isinstance(error, pydantic.ValidationError):
        msg = "the model's server sent an empty reply, or one that is not in its protocol's shape"
        return ModelFailed(msg, retryable=False, detail=detail)
    return ModelFailed("the model's server sent a malformed answer", retryable=False, detail=detail)


def check_stream(response: httpx.Response, *, hints: Hints) -> None:
    """Check that an answer with status 200 is a stream.

    Raises:
        ModelFailed: it is a web page, or a single document.

    """
    if (kind := _kind(response)) in {"text/html", "application/json"}:
        msg = f"the model's server answered with {kind} instead of a stream; check {hints.address}"
        raise ModelFailed(msg, retryable=False)


def check_document(response: httpx.Response, *, hints: Hints) -> None:
    """Check that an answer with status 200 is a document.

    Raises:
        ModelFailed: it is a web page.

    """
    if (kind := _kind(response)) == "text/html":
        msg = f"the model's server answered with {kind} instead of JSON; check {hints.address}"
        raise ModelFailed(msg, retryable=False)


def is_stream(response: httpx.Response) -> bool:
    """Tell whether an answer comes as server-sent events."""
    return _kind(response) == "text/event-stream"


def _kind(response: httpx.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()


async def refusal_text(response: httpx.Response) -> object:
    """Return what a response with another status than success says, as far as it comes: JSON's ``error``, or text."""
    try:
        text = (await response.aread()).decode(errors="replace").strip()
    except httpx.HTTPError:
        return ""
    try:
        said = json.loads(text)
    except ValueError:
        return text
    return said.get("error", said) if isinstance(said, dict) else said


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for (RFC 9110: seconds or a date; and OpenAI's ``-ms``).

    They are bounded by `MAX_RETRY_AFTER`.
    """
    with contextlib.suppress(KeyError, ValueError):
        return _within_bounds(float(headers["retry-after-ms"]) / 1000)
    value = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return _within_bounds(float(value))
    with contextlib.suppress(ValueError, OverflowError):
        return _within_bounds(email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    return None


def _within_bounds(seconds: float) -> float | None:
    return None if math.isnan(seconds) else min(max(0.0, seconds), MAX_RETRY_AFTER)


def _what_to_change(status: int, hints: Hints, detail: str, code: str) -> str:
    if status == httpx.codes.UNAUTHORIZED:
        return f"the model's provider does not accept the key; check {hints.key}"
    if status == httpx.codes.FORBIDDEN:
        return f"the model's provider forbids the request; check what {hints.key} may use"
    if status == httpx.codes.NOT_FOUND or code == "model_not_found":
        return f"the model's provider knows no such model or address; {hints.unknown_model}"
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE or "context" in code or _TOO_LONG.search(detail):
        return TOO_LONG
    if httpx.codes.MULTIPLE_CHOICES <= status < httpx.codes.BAD_REQUEST:
        return f"the model's server has moved (status {status}); check {hints.address}"
    return f"the model's provider refused the request with status {status}; the server's log says why"


def _why_unreachable(cause: BaseException | None) -> str:
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return "no secure connection to the model's server: its certificate or protocol is not accepted"
        if isinstance(cause, socket.gaierror):
            return "the name of the model's server is not known (DNS)"
        cause = cause.__cause__ or cause.__context__
    return "the model's server cannot be reached"
