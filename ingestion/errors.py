"""Errors of ingestion. No message contains document text."""

from config.errors import CallerError, FootnoteError


class Unreadable(CallerError):
    """A file cannot be converted to text; the message is one sentence, with no text of the document."""

    slug = "invalid-request"


class CommandRefused(CallerError):
    """Arguments contradict each other, or a command might lose documents; the message says what to change."""

    slug = "invalid-request"


class FetchRefused(CallerError):
    """A URL is not fetched, and trying again will not help: its address, robots.txt, size, type or what it answered.

    Attributes:
        status: of the answer, where that was the reason; 404 and 410 mean that the page is gone.

    """

    slug = "invalid-request"

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class FetchFailed(FootnoteError):
    """A URL could not be fetched now; it may be later.

    Attributes:
        status: of the answer, where that was the reason.
        retry_after: seconds to wait before the next try, where the site asked for that; else None.

    """

    slug = "fetch-failed"

    def __init__(self, message: str, *, status: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


class ClusterUnavailable(FootnoteError):
    """The Ray cluster cannot be reached or used, or is lost; the message says what to do."""

    slug = "store-unavailable"
