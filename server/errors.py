"""What the server itself refuses."""

from config.errors import FootnoteError


class UnknownEngine(FootnoteError):
    """The request's ``mode`` names no engine."""

    def __init__(self, mode: str, *, known: tuple[str, ...]) -> None:
        super().__init__(f"mode {mode!r} is not known; use one of: {', '.join(known)}")
        self.field = "mode"


class RerankUnavailable(FootnoteError):
    """The request asks for reranking where no reranker is configured."""

    def __init__(self) -> None:
        super().__init__("no reranker is configured; leave `rerank` out")
        self.field = "rerank"


class Overloaded(FootnoteError):
    """As many requests are being answered as the settings allow."""

    def __init__(self, *, retry_after: int = 1) -> None:
        super().__init__("the server is busy; try again shortly")
        self.retry_after = retry_after


class DeadlineExceeded(FootnoteError):
    """A request took longer than the settings allow."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the request took longer than {seconds:g} seconds")
