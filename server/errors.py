"""Errors of the server itself: engines, streams, uploads, load."""

from config.errors import CallerError, FootnoteError
from ingestion.names import size_as_text
from storage.chat.conversations import STOPPED


class Unauthenticated(CallerError):
    """A request has no key or token, or none that is accepted.

    Attributes:
        was_given: whether it had one.
        is_guess: whether anybody could have made up what it had; False for one that was good at another time, say.

    """

    slug = "unauthenticated"

    def __init__(self, reason: str, *, was_given: bool = True, is_guess: bool = True) -> None:
        super().__init__(reason)
        self.was_given = was_given
        self.is_guess = is_guess


class SignInFailed(CallerError):
    """Nobody was signed in; the message says why."""

    slug = "unauthenticated"


class Forbidden(CallerError):
    """Whoever asks lacks a scope, which `scope` names; empty where none would help."""

    slug = "forbidden"

    def __init__(self, scope: str, reason: str | None = None) -> None:
        super().__init__(reason or f"this needs the scope {scope!r}, which the key or token does not have")
        self.scope = scope


class TooManyFailures(CallerError):
    """Too many keys or tokens from one address were wrong."""

    slug = "rate-limited"

    def __init__(self, retry_after: float) -> None:
        super().__init__("too many wrong keys or tokens came from this address; check what is sent, and wait")
        self.retry_after = retry_after


class InvalidKey(CallerError):
    """An API key cannot be made as it was asked for."""

    slug = "invalid-request"

    def __init__(self, reason: str, *, field: str) -> None:
        super().__init__(reason)
        self.field = field


class NoSuchTenant(CallerError):
    """A request names a tenant that there is not, or that is being deleted."""

    slug = "tenant-not-found"

    def __init__(self, tenant: str) -> None:
        super().__init__(f"there is no tenant {tenant[:80]!r}, or it is being deleted")


class InvalidGoldenQuestion(CallerError):
    """A golden question, or a line of a file of them, cannot be used; the message says why."""

    slug = "invalid-request"
    field = "golden"


class UnknownEngine(CallerError):
    """The request's ``mode`` names no engine."""

    slug = "invalid-request"

    def __init__(self, mode: str, *, known: tuple[str, ...]) -> None:
        super().__init__(f"mode {mode!r} is not known; use one of: {', '.join(known)}")
        self.field = "mode"


class ModelRequired(CallerError):
    """The request's ``mode`` needs a chat model where none is configured."""

    slug = "invalid-request"
    field = "mode"

    def __init__(self, mode: str) -> None:
        super().__init__(f"mode {mode!r} needs a chat model; set FOOTNOTE_LLM__PROVIDER, or use hybrid")


class PlugInUnable(CallerError):
    """The request asks of a plug-in what its class cannot do."""

    slug = "invalid-request"
    field = "mode"

    def __init__(self, name: str, lacks: str) -> None:
        super().__init__(f"the plug-in {name!r} cannot do this: {lacks}")


class PlugInFailed(FootnoteError):
    """A plug-in raised an error, or returned something else than it should; the log has its traceback."""

    slug = "plug-in-failed"

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the plug-in {name!r} failed: {reason}")


class PlugInUnavailable(FootnoteError):
    """All threads or processes of a plug-in are in calls that did not return in time, or processes are starting."""

    slug = "plug-in-unavailable"
    retry_after = 5

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"the plug-in {name!r} is not available: {reason}")


class GuardRefused(CallerError):
    """A guard refused a question or an answer."""

    slug = "refused-by-guard"

    def __init__(self, name: str, what: str, reason: str) -> None:
        super().__init__(f"the guard {name!r} refused the {what}: {reason}")


class SchemaUnsupported(CallerError):
    """The request asks for an answer by a JSON schema where none can be written so."""

    slug = "invalid-request"
    field = "response_format"

    def __init__(self, reason: str) -> None:
        super().__init__(f"an answer by a JSON schema {reason}")


class ToolsUnsupported(CallerError):
    """The request offers tools to a model that cannot call them."""

    slug = "invalid-request"
    field = "tools"


class MessagesTooLong(CallerError):
    """A conversation that goes to the language model as it is is longer than it reads."""

    slug = "context-length-exceeded"

    def __init__(self) -> None:
        super().__init__("the messages are more than the language model reads; send fewer or shorter ones")


class ModelNotFound(CallerError):
    """OpenAI's protocol: the request's ``model`` does not exist here."""

    slug = "model-not-found"

    def __init__(self, model: str, *, instead: str) -> None:
        super().__init__(f"there is no model {model[:100]!r} for this; {instead}")


class RerankUnavailable(CallerError):
    """The request asks for reranking where no reranker is configured."""

    slug = "invalid-request"

    def __init__(self) -> None:
        super().__init__("no reranker is configured; leave `rerank` out")
        self.field = "rerank"


class Overloaded(FootnoteError):
    """As many requests are being answered as the settings allow."""

    slug = "overloaded"

    def __init__(self, *, retry_after: int = 1) -> None:
        super().__init__("the server is busy; try again shortly")
        self.retry_after = retry_after


class RateLimited(CallerError):
    """Whoever asks has reached a limit; `retry_after` in seconds, None where waiting does not help."""

    slug = "rate-limited"

    def __init__(self, detail: str, *, retry_after: float | None) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.retryable = retry_after is not None


class BudgetExhausted(CallerError):
    """A budget for language models is spent, or others have reserved what is left of it."""

    slug = "budget-exhausted"

    def __init__(self, detail: str, *, retry_after: float, retryable: bool) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        self.retryable = retryable


class DeadlineExceeded(FootnoteError):
    """A request took longer than the settings allow."""

    slug = "deadline-exceeded"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request took longer than {seconds:g} seconds")


class PlugInTooSlow(DeadlineExceeded):
    """A call of a plug-in took longer than the settings allow."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(seconds)
        self.args = (f"the plug-in {name!r} took longer than {seconds:g} seconds",)


class ShuttingDown(Overloaded):
    """The server is shutting down: the request is refused, or did not end in time."""

    def __init__(self) -> None:
        super().__init__(retry_after=2)
        self.args = ("the server is shutting down; try again",)


class StreamNotFound(CallerError):
    """There is no such stream, or its events have expired."""

    slug = "stream-not-found"

    def __init__(self, stream_id: str) -> None:
        super().__init__(f"there is no stream {stream_id!r}, or no longer; ask again")


class StreamAbandoned(CallerError):
    """The answer was aborted: no client had read its stream for the grace time."""

    slug = "stream-abandoned"
    retryable = True

    def __init__(self) -> None:
        super().__init__("the answer was given up, since nobody read it; ask again")


class StreamStopped(CallerError):
    """Whoever asked has stopped the answer: `DELETE /streams/{stream_id}`."""

    slug = STOPPED

    def __init__(self) -> None:
        super().__init__("the answer was stopped, as was asked for")


class StreamLost(FootnoteError):
    """The server process that was writing the answer has ended."""

    slug = "stream-lost"
    retryable = True

    def __init__(self) -> None:
        super().__init__("the server that was writing this answer is gone; ask again")


class InvalidEventId(CallerError):
    """``Last-Event-ID`` is not the id of an event of this stream."""

    slug = "invalid-request"
    field = "Last-Event-ID"

    def __init__(self) -> None:
        super().__init__("must be the id of an event of this stream")


class InvalidIdempotencyKey(CallerError):
    """``Idempotency-Key`` is malformed."""

    slug = "invalid-request"
    field = "Idempotency-Key"

    def __init__(self) -> None:
        super().__init__("must be 1 to 255 printable ASCII characters without spaces")


class CollectionIsFixed(CallerError):
    """A chat message names another collection than its conversation's."""

    slug = "invalid-request"
    field = "collection"

    def __init__(self, collection: str) -> None:
        super().__init__(f"the conversation is about {collection!r}; leave `collection` out, or begin another one")


class UploadTooLarge(CallerError):
    """A file is larger than the settings allow: `FOOTNOTE_INGESTION__MAX_FILE_BYTES`."""

    slug = "too-large"

    def __init__(self, most: int) -> None:
        super().__init__(f"a file may have {size_as_text(most)} at the most here")


class MalformedUpload(CallerError):
    """A body is not valid ``multipart/form-data``, or has too many or too large parts."""

    slug = "invalid-request"


class InvalidUpload(CallerError):
    """A part of an upload cannot be used."""

    slug = "invalid-request"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


class EmptyUpload(CallerError):
    """An uploaded file has no bytes."""

    slug = "invalid-request"
    field = "file"

    def __init__(self) -> None:
        super().__init__("the file is empty")


class UnsupportedUpload(CallerError):
    """No reader supports the file's content, whatever its name says."""

    slug = "unsupported-media-type"

    def __init__(self, reason: str) -> None:
        super().__init__(f"the file cannot be read: {reason}")


class UploadStalled(FootnoteError):
    """A client stopped sending in the middle of an upload."""

    slug = "deadline-exceeded"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing of the upload came for {seconds:g} seconds")


class NoRoomForUploads(Overloaded):
    """The disk is full."""

    def __init__(self) -> None:
        super().__init__(retry_after=60)
        self.args = ("there is no room for uploads at the moment; try again later",)
