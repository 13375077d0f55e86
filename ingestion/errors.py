"""Errors of ingestion. No message contains document text."""

from config.errors import CallerError, FootnoteError


class Unreadable(CallerError):
    """A file cannot be converted to text; the message is one sentence, with no text of the document."""

    slug = "invalid-request"


class QuotaExceeded(CallerError):
    """The tenant may store no more; the message says what it may."""

    slug = "rate-limited"


class CommandRefused(CallerError):
    """Arguments contradict each other, or a command might lose documents; the message says what to change."""

    slug = "invalid-request"


class EvaluationFailed(CallerError):
    """An evaluation has no result; the message is the program's."""

    slug = "invalid-request"


class FetchRefused(CallerError):
    """A URL will not be fetched: its address, robots.txt, size, type or HTTP status rules it out for good.

    Attributes:
        status: the HTTP status, where that was the reason; 404 and 410 mean that the page is gone.

    """

    slug = "invalid-request"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class FetchFailed(FootnoteError):
    """A URL could not be fetched; a later attempt may succeed.

    Attributes:
        status: the HTTP status, where that was the reason.
        retry_after: the site's ``Retry-After`` in seconds, where it sent one.

    """

    slug = "fetch-failed"

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class ClusterUnavailable(FootnoteError):
    """The Ray cluster cannot be reached or used, or was lost; the message says what to do."""

    slug = "store-unavailable"
