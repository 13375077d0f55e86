"""What can go wrong in storage. No message carries SQL, parameters or document text."""

from config.errors import FootnoteError


class StoreUnavailable(FootnoteError):
    """The database does not answer, refuses us, or has no free connection."""

    retry_after = 2


class StoreRefused(StoreUnavailable):
    """The database refuses the user or the password: trying again changes nothing."""


class StoreTimeout(FootnoteError):
    """A statement ran into the statement timeout."""


class StoreFailed(FootnoteError):
    """The database refused a statement that Footnote thought was right."""


class SchemaMismatch(FootnoteError):
    """The database's schema is not the one this version of Footnote works with."""


class CollectionNotFound(FootnoteError):
    """No such collection, for this tenant."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no collection {name!r}")
        self.name = name


class InvalidCollection(FootnoteError):
    """A collection's name or settings cannot be used."""


class DocumentNotFound(FootnoteError):
    """No such document, for this tenant."""

    def __init__(self, document_id: str) -> None:
        super().__init__(f"there is no document {document_id!r}")
        self.document_id = document_id


class EmbeddingMismatch(FootnoteError):
    """The configured embedding model is not the one that the collection was built with."""


class InvalidCursor(FootnoteError):
    """A page was asked for with a cursor that Footnote did not give."""

    field = "cursor"

    def __init__(self) -> None:
        super().__init__("the cursor is not one that Footnote gave; begin again without it")


class UnsupportedFilter(FootnoteError):
    """A metadata filter cannot be honoured; the message says which and why."""

    field = "filters"


class WriteConflict(FootnoteError):
    """Another writer changed the document since it was read."""


class EmbeddedServerFailed(FootnoteError):
    """The embedded PostgreSQL could not be started."""


class LeaseLost(FootnoteError):
    """This process was cut off from the database for so long that another has taken its work over."""

    def __init__(self) -> None:
        super().__init__("the database was out of reach for too long; ask again")


class ConversationNotFound(FootnoteError):
    """No such conversation, for this tenant."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"there is no conversation {conversation_id!r}")


class ConversationBusy(FootnoteError):
    """Another turn of the conversation is being answered."""

    retry_after = 2
    retryable = True

    def __init__(self) -> None:
        super().__init__("another message of this conversation is being answered; wait for it to end")


class FeedbackNotFound(FootnoteError):
    """No such feedback, for this tenant."""

    def __init__(self, feedback_id: str) -> None:
        super().__init__(f"there is no feedback {feedback_id!r}")


class IdempotencyKeyReused(FootnoteError):
    """An idempotency key came with another request before."""

    field = "Idempotency-Key"

    def __init__(self) -> None:
        super().__init__("this key came with another request before; use a new key for a new request")
