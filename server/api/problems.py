"""RFC 9457 problems: the HTTP status and title of each error's slug, and the documents that clients get."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from opentelemetry import trace
from starlette.responses import Response
from structlog.contextvars import bind_contextvars

from config.errors import INTERNAL as INTERNAL_SLUG
from config.errors import slug_of
from config.telemetry.metrics import ANSWERS, DB_TIMEOUTS, PROBLEMS, STREAM_ENDINGS
from config.telemetry.spans import CANCELLED
from server.api.context import trace_id
from server.errors import MalformedUpload
from storage.errors import UnsupportedFilter
from storage.tracing import POOL

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL_LENGTH = 1000
MAX_FIELD_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: the last part of its ``type``, its status, and the title of every problem of this kind."""

    slug: str
    status: int
    title: str


INTERNAL = Kind(INTERNAL_SLUG, 500, "Something went wrong")
INVALID = Kind("invalid-request", 422, "The request is invalid")
MALFORMED = replace(INVALID, status=400)
"""Of a request that cannot be read, rather than one that holds a wrong value."""

KINDS: Mapping[str, Kind] = {
    kind.slug: kind
    for kind in (
        INTERNAL,
        INVALID,
        Kind("unauthenticated", 401, "Authentication is required"),
        Kind("forbidden", 403, "A permission is missing"),
        Kind("origin-refused", 403, "The page may not call this server"),
        Kind("not-found", 404, "There is nothing here"),
        Kind("method-not-allowed", 405, "The method is not allowed here"),
        Kind("collection-not-found", 404, "The collection does not exist"),
        Kind("document-not-found", 404, "The document does not exist"),
        Kind("page-not-found", 404, "The page does not exist"),
        Kind("model-not-found", 404, "The model does not exist"),
        Kind("conversation-not-found", 404, "The conversation does not exist"),
        Kind("feedback-not-found", 404, "The feedback does not exist"),
        Kind("golden-question-not-found", 404, "The golden question does not exist"),
        Kind("evaluation-not-found", 404, "The evaluation does not exist"),
        Kind("stream-not-found", 404, "The stream does not exist"),
        Kind("job-not-found", 404, "The job does not exist"),
        Kind("key-not-found", 404, "The key does not exist"),
        Kind("tenant-not-found", 404, "The tenant does not exist"),
        Kind("already-exists", 409, "It exists already"),
        Kind("document-attached", 409, "The document is an attachment of another one"),
        Kind("conversation-busy", 409, "The conversation is busy"),
        Kind("embedding-mismatch", 409, "The collection was built with another embedding model"),
        Kind("generation-not-ready", 409, "The generation cannot be activated"),
        Kind("job-not-retryable", 409, "The job cannot be repeated"),
        Kind("stream-abandoned", 410, "The answer was given up"),
        Kind("stream-stopped", 410, "The answer was stopped"),
        Kind("too-large", 413, "The request is too large"),
        Kind("unsupported-media-type", 415, "The content type is not supported"),
        Kind("host-refused", 421, "The server is not called so"),
        Kind("context-length-exceeded", 422, "The messages are too long for the language model"),
        Kind("refused-by-guard", 422, "A guard refused it"),
        Kind("rate-limited", 429, "The rate limit is reached"),
        Kind("budget-exhausted", 429, "The budget is exhausted"),
        Kind("extra-missing", 501, "A part of Footnote is not installed"),
        Kind("fetch-failed", 502, "The URL could not be fetched"),
        Kind("model-failed", 502, "The language model failed"),
        Kind("model-rejected", 502, "The language model refused the request"),
        Kind("plug-in-failed", 502, "A plug-in failed"),
        Kind("plug-in-unavailable", 503, "A plug-in is not available"),
        Kind("model-unavailable", 503, "A model is not available"),
        Kind("overloaded", 503, "The server is busy"),
        Kind("identity-unavailable", 503, "The identity provider cannot be reached"),
        Kind("store-unavailable", 503, "The database is not available"),
        Kind("stream-lost", 503, "The answer was lost"),
        Kind("deadline-exceeded", 504, "The request took too long"),
    )
}
MALFORMED_ERRORS = (UnsupportedFilter, MalformedUpload)
RETRYABLE = frozenset(
    {
        "store-unavailable",
        "identity-unavailable",
        "model-unavailable",
        "model-failed",
        "plug-in-unavailable",
        "overloaded",
        "deadline-exceeded",
        "rate-limited",
    }
)


@dataclass(frozen=True, slots=True)
class FieldError:
    """An error in a part of the request; `field` is a dotted path, or ``body`` for the whole."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of one request.

    Attributes:
        retry_after: seconds after which a retry may succeed.
        retryable: whether the same request may succeed later; a member of errors in streams.
        was_retried: whether Footnote has tried again already, so that a client that does so at once helps nobody.

    """

    kind: Kind
    detail: str
    errors: Sequence[FieldError] = ()
    retry_after: int | None = None
    retryable: bool = False
    was_retried: bool = False

    def document(self, request_id: str) -> dict[str, object]:
        """Return the members of the problem document, with clean and bounded text."""
        return {
            "type": f"/problems/{self.kind.slug}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": clean(self.detail, MAX_DETAIL_LENGTH),
            "request_id": request_id,
            "trace_id": trace_id(),
            "errors": [
                {"field": clean(error.field, MAX_FIELD_LENGTH), "reason": clean(error.reason, MAX_DETAIL_LENGTH)}
                for error in self.errors
            ],
        }


def kind_of(error: BaseException) -> Kind:
    """Return the kind of an error; ``internal`` where it is not one of Footnote's."""
    return MALFORMED if isinstance(error, MALFORMED_ERRORS) else KINDS.get(slug_of(error), INTERNAL)


def problem_of(error: BaseException, *, request_id: str) -> Problem:
    """Return the problem that a client is told of an error; of an ``internal`` one it holds the request's id alone."""
    kind = kind_of(error)
    if kind is INTERNAL:
        return Problem(INTERNAL, f"the request {request_id} failed for a reason that only the server's log tells")
    wait = getattr(error, "retry_after", None)
    return Problem(
        kind,
        str(error),
        errors=_errors(error, kind),
        retry_after=max(1, math.ceil(wait)) if wait is not None else None,
        retryable=bool(getattr(error, "retryable", kind.slug in RETRYABLE)),
        was_retried=wait is None and getattr(error, "tries", 1) > 1,
    )


def _errors(error: BaseException, kind: Kind) -> tuple[FieldError, ...]:
    """Return the field that is wrong, or the scope that is missing."""
    field, scope = getattr(error, "field", None), getattr(error, "scope", None)
    if kind.slug == "forbidden" and scope:
        return (FieldError("scope", str(scope)),)
    return (FieldError(str(field), str(error)),) if field and kind.slug == "invalid-request" else ()


def problem_response(
    problem: Problem,
    *,
    request_id: str,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, object] | None = None,
    is_counted: bool = True,
) -> Response:
    """Return the HTTP response; `extensions` are further members of the document.

    It counts as a failure unless it is the answer to whoever looks whether there is one (`is_counted`).
    """
    all_headers = dict(headers or {})
    if problem.retry_after is not None:
        all_headers["Retry-After"] = str(problem.retry_after)
    if problem.was_retried:
        all_headers["X-Should-Retry"] = "false"  # which OpenAI's clients heed
    document = problem.document(request_id) | dict(extensions or {})
    trace.get_current_span().set_attribute("footnote.problem", problem.kind.slug)
    if is_counted:
        PROBLEMS.add(1, _labels(problem.kind))
    bind_contextvars(problem=problem.kind.slug)  # for the request's line in the log
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, status_code=problem.kind.status, media_type=MEDIA_TYPE, headers=all_headers)


def count_from_zero() -> None:
    """Let what alerts count begin at 0: where a series is born with its first failure, Prometheus sees no increase."""
    for kind in (*KINDS.values(), MALFORMED):
        PROBLEMS.add(0, _labels(kind))
    for outcome in (*KINDS, "stop", "length", "extractive", "no_context", CANCELLED):
        ANSWERS.add(0, {"footnote.outcome": outcome})
        STREAM_ENDINGS.add(0, {"footnote.outcome": outcome})
    DB_TIMEOUTS.add(0, POOL)


def _labels(kind: Kind) -> dict[str, str | int]:
    return {"footnote.problem": kind.slug, "http.response.status_code": kind.status}


def clean(text: str, longest: int | None = None) -> str:
    """Return a text that can be encoded as UTF-8, cut to `longest` characters."""
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
