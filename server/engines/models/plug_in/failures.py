"""What a LlamaIndex class raises, as our own errors: by status, by cause, without its text.

The SDKs under the integrations raise errors of their own, which have in common that they name an HTTP status: as
``status_code`` (Anthropic, OpenAI, Azure, Cohere, Mistral), ``code`` (Google) or in ``response`` (AWS).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping

import httpx

from config.threads import ThreadEnded
from server.engines.models.errors import ModelError, ModelFailed, ModelRejected
from server.engines.models.failures import Hints, refusal, retry_after, unreached

_LOST = (httpx.TransportError, ConnectionError, TimeoutError, asyncio.TimeoutError, ssl.SSLError, socket.gaierror)
_LOST_NAMES = ("ConnectionError", "ConnectTimeout", "ReadTimeout", "EndpointConnectionError", "ServiceUnavailable")
_DEFECTS = (TypeError, AttributeError, LookupError, ValueError, AssertionError, ArithmeticError)
_DEEPEST = 8
_CUT = "the connection to the model's server was lost within its answer"


def failure_of(
    error: BaseException, *, name: str, hints: Hints, begun: bool = False, secrets: Iterable[str] = ()
) -> ModelError:
    """Return our error for what the class `name` raised; `begun`: within its answer. Its text is in `detail` only."""
    if isinstance(error, ModelError):
        return error
    if isinstance(error, ThreadEnded) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, NotImplementedError):
        return ModelRejected(f"{name} cannot do what was asked of it: one of its methods is not implemented")
    detail = _hidden(f"{type(error).__name__}: {error}", secrets)
    if (status := _status(error)) is not None:
        return refusal(status, hints=hints, detail=detail, code=_code(error), wait=_wait(error))
    if (cause := _lost(error)) is not None:
        return ModelFailed(_CUT, detail=type(cause).__name__) if begun else unreached(cause)
    msg = f"{name}, the class that calls the model, failed ({type(error).__name__})"
    return ModelFailed(msg, retryable=not isinstance(error, _DEFECTS), detail=detail)


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error names."""
    response = getattr(error, "response", None)
    named = (
        getattr(error, "status_code", None),
        getattr(error, "code", None),
        getattr(error, "http_status", None),
        getattr(response, "status_code", None),
        _member(response, "ResponseMetadata", "HTTPStatusCode"),
    )
    status = next((each for each in named if type(each) is int and 300 <= each < 600), None)  # noqa: PLR2004 (HTTP)
    return 429 if status is not None and "throttl" in _code(error).lower() else status


def _code(error: BaseException) -> str:
    """Return the provider's own word for what happened."""
    response, body = getattr(error, "response", None), getattr(error, "body", None)
    code = getattr(error, "code", None)
    words = (
        code if isinstance(code, str) else None,
        _member(response, "Error", "Code"),
        _member(body, "error", "type"),
    )
    return next((word for word in words if isinstance(word, str)), "")


def _wait(error: BaseException) -> float | None:
    headers = getattr(getattr(error, "response", None), "headers", None)
    return retry_after(headers) if isinstance(headers, Mapping) else None


def _member(place: object, *names: str) -> object:
    for name in names:
        place = place.get(name) if isinstance(place, Mapping) else None
    return place


def _lost(error: BaseException) -> Exception | None:
    """Return the lost or refused connection behind an error, if that is what it is."""
    for cause in _causes(error):
        if isinstance(cause, _LOST):
            return cause
    named = isinstance(error, Exception) and any(each in type(error).__name__ for each in _LOST_NAMES)
    return error if named and isinstance(error, Exception) else None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_DEEPEST):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _hidden(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "[key]")
    return text
