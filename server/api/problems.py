"""RFC 9457 problems: the one table from Footnote's errors to HTTP, and the documents that clients get."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opentelemetry import trace
from starlette.responses import Response
from structlog.contextvars import bind_contextvars

import embedding.errors as embedding_errors
import ingestion.errors as ingestion_errors
import server.engines.models.errors as model_errors
import server.errors as server_errors
import storage.errors as storage_errors
from config.errors import FootnoteError
from server.api.context import trace_id

MEDIA_TYPE = "application/problem+json"
LONGEST_DETAIL = 1000
LONGEST_FIELD = 120


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of problem: its status and the last part of its ``type``."""

    status: int
    slug: str

    @property
    def title(self) -> str:
        """The slug's title, the same for every problem of this kind."""
        return TITLES[self.slug]


TITLES = {
    "invalid-request": "The request is invalid",
    "not-found": "There is nothing here",
    "method-not-allowed": "The method is not allowed here",
    "collection-not-found": "The collection does not exist",
    "document-not-found": "The document does not exist",
    "model-not-found": "The model does not exist",
    "conversation-not-found": "The conversation does not exist",
    "conversation-busy": "The conversation is busy",
    "feedback-not-found": "The feedback does not exist",
    "stream-not-found": "The stream does not exist",
    "stream-abandoned": "The answer was given up",
    "stream-lost": "The answer was lost",
    "already-exists": "It exists already",
    "generation-not-ready": "The generation cannot be activated",
    "job-not-found": "The job does not exist",
    "job-not-retryable": "The job cannot be repeated",
    "fetch-failed": "The URL could not be fetched",
    "embedding-mismatch": "The collection was built with another embedding model",
    "too-large": "The request is too large",
    "unsupported-media-type": "The content type is not supported",
    "internal": "Something went wrong",
    "model-failed": "The language model failed",
    "model-rejected": "The language model refused the request",
    "store-unavailable": "The database is not available",
    "model-unavailable": "A model is not available",
    "overloaded": "The server is busy",
    "deadline-exceeded": "The request took too long",
}
INTERNAL = Kind(500, "internal")
MALFORMED = Kind(400, "invalid-request")
INVALID = Kind(422, "invalid-request")

# an error's kind is that of its nearest ancestor here
KINDS: Mapping[type[FootnoteError], Kind] = {
    storage_errors.StoreUnavailable: Kind(503, "store-unavailable"),
    storage_errors.StoreTimeout: Kind(504, "deadline-exceeded"),
    storage_errors.StoreFailed: INTERNAL,
    storage_errors.SchemaMismatch: Kind(503, "store-unavailable"),
    storage_errors.CollectionNotFound: Kind(404, "collection-not-found"),
    storage_errors.InvalidCollection: INVALID,
    storage_errors.CollectionExists: Kind(409, "already-exists"),
    storage_errors.GenerationNotFound: INVALID,
    storage_errors.GenerationNotReady: Kind(409, "generation-not-ready"),
    storage_errors.GenerationRetired: Kind(503, "store-unavailable"),
    storage_errors.BuildRunning: Kind(409, "generation-not-ready"),
    storage_errors.OriginalNotFound: Kind(404, "document-not-found"),
    storage_errors.TableGone: Kind(503, "store-unavailable"),
    storage_errors.MissingKey: INTERNAL,
    storage_errors.JobNotFound: Kind(404, "job-not-found"),
    storage_errors.JobNotRetryable: Kind(409, "job-not-retryable"),
    storage_errors.JobTooLarge: Kind(413, "too-large"),
    storage_errors.JobTimedOut: Kind(504, "deadline-exceeded"),
    storage_errors.JobLost: Kind(503, "store-unavailable"),
    storage_errors.WorkerDied: INTERNAL,
    storage_errors.UnknownJobKind: INTERNAL,
    storage_errors.DocumentNotFound: Kind(404, "document-not-found"),
    storage_errors.EmbeddingMismatch: Kind(409, "embedding-mismatch"),
    storage_errors.InvalidCursor: INVALID,
    storage_errors.ConversationNotFound: Kind(404, "conversation-not-found"),
    storage_errors.ConversationBusy: Kind(409, "conversation-busy"),
    storage_errors.FeedbackNotFound: Kind(404, "feedback-not-found"),
    storage_errors.IdempotencyKeyReused: INVALID,
    storage_errors.LeaseLost: Kind(503, "store-unavailable"),
    storage_errors.UnsupportedFilter: MALFORMED,
    storage_errors.WriteConflict: Kind(503, "store-unavailable"),
    storage_errors.EmbeddedServerFailed: Kind(503, "store-unavailable"),
    embedding_errors.EmbeddingModelNotFound: Kind(503, "model-unavailable"),
    embedding_errors.EmbeddingFailed: Kind(503, "model-unavailable"),
    ingestion_errors.Unreadable: INVALID,
    ingestion_errors.CommandRefused: INVALID,
    ingestion_errors.FetchRefused: INVALID,
    ingestion_errors.FetchFailed: Kind(502, "fetch-failed"),
    ingestion_errors.ClusterUnavailable: Kind(503, "store-unavailable"),
    model_errors.ModelUnavailable: Kind(503, "model-unavailable"),
    model_errors.ModelFailed: Kind(502, "model-failed"),
    model_errors.ModelRejected: Kind(502, "model-rejected"),
    model_errors.ModelTimeout: Kind(504, "deadline-exceeded"),
    model_errors.ModelError: Kind(502, "model-failed"),
    server_errors.UnknownEngine: INVALID,
    server_errors.RerankUnavailable: INVALID,
    server_errors.ModelRequired: INVALID,
    server_errors.ModelNotFound: Kind(404, "model-not-found"),
    server_errors.CollectionIsFixed: INVALID,
    server_errors.InvalidEventId: INVALID,
    server_errors.InvalidIdempotencyKey: INVALID,
    server_errors.UploadTooLarge: Kind(413, "too-large"),
    server_errors.MalformedUpload: MALFORMED,
    server_errors.InvalidUpload: INVALID,
    server_errors.UnsupportedUpload: Kind(415, "unsupported-media-type"),
    server_errors.UploadStalled: Kind(504, "deadline-exceeded"),
    server_errors.SourceTaken: Kind(409, "already-exists"),
    server_errors.StreamNotFound: Kind(404, "stream-not-found"),
    server_errors.StreamAbandoned: Kind(410, "stream-abandoned"),
    server_errors.StreamLost: Kind(503, "stream-lost"),
    server_errors.Overloaded: Kind(503, "overloaded"),
    server_errors.DeadlineExceeded: Kind(504, "deadline-exceeded"),
}
RETRYABLE = frozenset({"store-unavailable", "model-unavailable", "model-failed", "overloaded", "deadline-exceeded"})


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with a part of the request; `field` is a dotted path, ``body`` for the whole."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of one request.

    Attributes:
        retry_after: seconds, where waiting helps.
        retryable: whether the same request may succeed later; told in streams.

    """

    kind: Kind
    detail: str
    errors: Sequence[FieldError] = ()
    retry_after: int | None = None
    retryable: bool = False

    def document(self, request_id: str) -> dict[str, object]:
        """Return the members of the problem document, with clean and bounded text."""
        return {
            "type": f"/problems/{self.kind.slug}",
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": clean(self.detail, LONGEST_DETAIL),
            "request_id": request_id,
            "trace_id": trace_id(),
            "errors": [
                {"field": clean(error.field, LONGEST_FIELD), "reason": clean(error.reason, LONGEST_DETAIL)}
                for error in self.errors
            ],
        }


def kind_of(error_class: type[BaseException]) -> Kind | None:
    """Return the kind of an error class, None where the table does not know it."""
    return next((KINDS[base] for base in error_class.__mro__ if base in KINDS), None)


def kind_of_error(error: BaseException) -> Kind:
    """Return the kind of an error; ``internal`` where it has none."""
    return kind_of(type(error)) or INTERNAL


def kind_of_name(name: str) -> Kind:
    """Return the kind of an error class of which only the name was kept; ``internal`` where there is none."""
    return next((kind for error_class, kind in KINDS.items() if error_class.__name__ == name), INTERNAL)


def slug_of(error: BaseException) -> str:
    """Return the slug of an error's kind."""
    return kind_of_error(error).slug


def problem_of(error: BaseException, *, request_id: str) -> Problem:
    """Return the problem that an error is to a client; whatever cannot be named is ``internal``."""
    kind = kind_of(type(error))
    if kind is None or kind is INTERNAL:
        return Problem(INTERNAL, f"the request {request_id} failed for a reason that only the server's log tells")
    field, wait = getattr(error, "field", None), getattr(error, "retry_after", None)
    return Problem(
        kind,
        str(error),
        errors=(FieldError(str(field), str(error)),) if field and kind.slug == "invalid-request" else (),
        retry_after=max(1, math.ceil(wait)) if wait is not None else None,
        retryable=bool(getattr(error, "retryable", kind.slug in RETRYABLE)),
    )


def problem_response(
    problem: Problem,
    *,
    request_id: str,
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, object] | None = None,
) -> Response:
    """Return the HTTP response; `extensions` are further members of the document."""
    all_headers = dict(headers or {})
    if problem.retry_after is not None:
        all_headers["Retry-After"] = str(problem.retry_after)
    document = problem.document(request_id) | dict(extensions or {})
    trace.get_current_span().set_attribute("footnote.problem", problem.kind.slug)
    bind_contextvars(problem=problem.kind.slug)  # for the request's line in the log
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()
    return Response(body, status_code=problem.kind.status, media_type=MEDIA_TYPE, headers=all_headers)


def clean(text: str, longest: int | None = None) -> str:
    """Return text that UTF-8 can carry, cut to `longest` characters."""
    if longest is not None and len(text) > longest:
        text = text[: longest - 1] + "…"
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
