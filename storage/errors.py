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


class MissingKey(StoreFailed):
    """A row points at one that is not there."""


class SchemaMismatch(FootnoteError):
    """The database's schema is not the one this version of Footnote works with."""


class CollectionNotFound(FootnoteError):
    """No such collection, for this tenant."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no collection {name!r}")
        self.name = name


class CollectionExists(FootnoteError):
    """There is a collection of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a collection {name!r} already")


class GenerationNotFound(FootnoteError):
    """A collection has no such generation."""

    field = "generation"

    def __init__(self, collection: str, name: str) -> None:
        super().__init__(f"collection {collection!r} has no generation {name}")


class OriginalNotFound(FootnoteError):
    """A document's bytes are not kept."""

    def __init__(self, content_hash: str) -> None:
        super().__init__(f"the bytes with the hash {content_hash[:12]}… are not kept")


class GenerationRetired(FootnoteError):
    """Another generation took the place of the one that was to be written to; do it again with that one."""

    def __init__(self, collection: str, name: str) -> None:
        super().__init__(f"generation {name} of collection {collection!r} takes no documents any more")


class GenerationNotReady(FootnoteError):
    """A generation cannot be activated; the message says why."""


class GenerationBehind(GenerationNotReady):
    """A generation lacks documents that the active one has, or has older versions."""

    def __init__(self, collection: str, name: str) -> None:
        super().__init__(f"generation {name} of collection {collection!r} lacks documents that the active one has")


class BuildRunning(FootnoteError):
    """Another process builds a generation of the same collection."""

    def __init__(self, collection: str) -> None:
        super().__init__(f"another process builds a generation of collection {collection!r}; wait for it to end")


class TableGone(FootnoteError):
    """A generation's table was dropped since it was looked up; look again."""


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


class JobNotFound(FootnoteError):
    """No such job, for this tenant."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}")


class JobNotRetryable(FootnoteError):
    """Only a job that has failed, and whose document nothing newer has reached, can be repeated."""


class JobLost(FootnoteError):
    """A worker's job is no longer its own: it was cancelled, or another worker has taken it up."""

    def __init__(self) -> None:
        super().__init__("the job was cancelled, or taken up by another worker")


class WorkerDied(FootnoteError):
    """The workers that took a job ended before it did, as often as it may be tried."""


class JobTooLarge(FootnoteError):
    """A job's arguments or its result are larger than a job can hold."""


class JobTimedOut(FootnoteError):
    """A job took longer than the settings allow."""

    retryable = True

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the job took longer than {seconds:g} seconds")


class UnknownJobKind(FootnoteError):
    """A worker has no handler for a job; a worker of another version may have one."""

    retryable = True

    def __init__(self, kind: str) -> None:
        super().__init__(f"this worker knows no jobs of the kind {kind!r}")
