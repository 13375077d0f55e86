"""Errors of storage. No message holds SQL, parameters or document text."""

from collections.abc import Sequence

from config.errors import CallerError, FootnoteError


class StoreUnavailable(FootnoteError):
    """The database does not answer, refuses the connection, or the pool has no free connection."""

    slug = "store-unavailable"
    retry_after = 2


class StoreSilent(StoreUnavailable):
    """The database does not answer: it is frozen, or the network swallows what is sent."""


class StoreReadOnly(StoreUnavailable):
    """The database can be read and not written to: a standby, a writer that was demoted, a full disk at some hosts."""


class StoreRefused(StoreUnavailable):
    """The database rejects the user or the password: for good, or while the password is being changed."""


class TransactionConflict(StoreUnavailable):
    """PostgreSQL ended the transaction for a concurrent one (a deadlock, a serialization failure): run it again."""


class StoreTimeout(FootnoteError):
    """A statement exceeded the statement timeout."""

    slug = "deadline-exceeded"


class StoreFailed(FootnoteError):
    """The database rejected a statement: a defect of Footnote."""

    slug = "internal"


class MissingKey(StoreFailed):
    """A foreign key points at a missing row."""


class SchemaMismatch(FootnoteError):
    """The database's schema has another revision than this version of Footnote needs."""

    slug = "store-unavailable"


class RoleTooStrong(FootnoteError):
    """The database's policies do not hold for the role that this process has."""

    slug = "store-unavailable"

    def __init__(self, role: str, *, needed: str) -> None:
        super().__init__(
            f"the database user {role!r} is a superuser or bypasses row-level security, and cannot switch to "
            f"{needed!r}, so tenants would not be kept apart; run: python -m storage upgrade, or have an "
            f'administrator run: GRANT {needed} TO "{role}" (docs/tenants.md)'
        )


class InvalidTenant(CallerError):
    """A tenant cannot be made or deleted; the message says why."""

    slug = "invalid-request"


class TenantExists(CallerError):
    """The tenant's name is taken."""

    slug = "already-exists"

    def __init__(self, tenant: str) -> None:
        super().__init__(f"there is a tenant {tenant!r} already")


class TenantNotFound(CallerError):
    """No such tenant, or it is being deleted."""

    slug = "invalid-request"
    field = "tenant"

    def __init__(self, tenant: str) -> None:
        super().__init__(f"there is no tenant {tenant[:80]!r}, or it is being deleted")


class TenantBusy(FootnoteError):
    """A tenant's tables are in use; what is left of it is deleted by another call."""

    slug = "store-unavailable"

    def __init__(self, tenant: str) -> None:
        super().__init__(f"a table of the tenant {tenant!r} is being read or written; call it again to go on")


class ExportRefused(CallerError):
    """An export cannot be written; the message says why."""

    slug = "invalid-request"


class InvalidReaders(CallerError):
    """A document's readers cannot be used; the message says why."""

    slug = "invalid-request"


class CollectionNotFound(CallerError):
    """No such collection, for this tenant."""

    slug = "collection-not-found"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no collection {name!r}")
        self.name = name


class CollectionExists(CallerError):
    """A collection of that name exists already."""

    slug = "already-exists"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a collection {name!r} already")


class GenerationNotFound(CallerError):
    """A collection has no such generation."""

    slug = "invalid-request"
    field = "generation"

    def __init__(self, collection: str, name: str) -> None:
        super().__init__(f"collection {collection!r} has no generation {name}")


class OriginalNotFound(CallerError):
    """A document's bytes are not kept."""

    slug = "document-not-found"

    def __init__(self, content_hash: str) -> None:
        super().__init__(f"the bytes with the hash {content_hash[:12]}… are not kept")


class GenerationRetired(FootnoteError):
    """The generation was replaced while it was being written to; retry with its successor."""

    slug = "store-unavailable"

    def __init__(self, collection: str, name: str) -> None:
        super().__init__(f"generation {name} of collection {collection!r} takes no documents any more")


class GenerationNotReady(CallerError):
    """A generation cannot be activated; the message says why."""

    slug = "generation-not-ready"


class GenerationBusy(GenerationNotReady):
    """A generation was not activated, since documents of the active one were being written all the time."""

    def __init__(self, collection: str, *, seconds: float) -> None:
        super().__init__(
            f"documents of collection {collection!r} are being written for longer than {seconds:g} s; try again"
        )


class GenerationBehind(GenerationNotReady):
    """A generation lacks documents of the active one, or has older versions of them."""

    def __init__(self, collection: str, name: str) -> None:
        super().__init__(f"generation {name} of collection {collection!r} lacks documents that the active one has")


class BuildRunning(CallerError):
    """Another process builds a generation of the same collection."""

    slug = "generation-not-ready"

    def __init__(self, collection: str) -> None:
        super().__init__(f"another process builds a generation of collection {collection!r}; wait for it to end")


class TableGone(FootnoteError):
    """A generation's table was dropped after it was looked up; look it up again."""

    slug = "store-unavailable"


class InvalidCollection(CallerError):
    """A collection's name or settings cannot be used."""

    slug = "invalid-request"


class DocumentNotFound(CallerError):
    """No such document, for this tenant."""

    slug = "document-not-found"

    def __init__(self, document_id: str) -> None:
        super().__init__(f"there is no document {document_id!r}")
        self.document_id = document_id


class RevisionNotFound(CallerError):
    """A document has no such revision, or it is not kept."""

    slug = "document-not-found"

    def __init__(self, document_id: str, revision: int, *, current: int) -> None:
        super().__init__(f"document {document_id!r} has revision {current}; revision {revision} is not kept")


class PageNotFound(CallerError):
    """A document has no such page, or none that can be drawn."""

    slug = "page-not-found"


class SourceTaken(CallerError):
    """Another document of the collection has the source, or a job that has not ended will give it to one."""

    slug = "already-exists"

    def __init__(self, source: str, *, holder: str | None) -> None:
        """Name the holder, unless the caller may not read it."""
        whose = "another document" if holder is None else f"document {holder!r}"
        super().__init__(f"the source {source[:200]!r} is that of {whose}; give another `source`")


class DocumentAttached(CallerError):
    """A document is an attachment, which is replaced and deleted with the document that it is attached to."""

    slug = "document-attached"

    def __init__(self, document_id: str, *, parent: str) -> None:
        super().__init__(
            f"{document_id!r} is an attachment of document {parent!r}, and follows it; replace or delete that one"
        )


class EmbeddingMismatch(CallerError):
    """The configured embedding model is not the one that the collection was built with."""

    slug = "embedding-mismatch"


class InvalidCursor(CallerError):
    """A cursor is malformed, or not one that Footnote issued."""

    slug = "invalid-request"
    field = "cursor"

    def __init__(self) -> None:
        super().__init__("the cursor is not one that Footnote gave; begin again without it")


class UnsupportedFilter(CallerError):
    """A metadata filter cannot be honoured; the message says which and why."""

    slug = "invalid-request"
    field = "filters"


class InvalidNode(CallerError):
    """A node of LlamaIndex's cannot be stored; the message says which and why."""

    slug = "invalid-request"


class InvalidVector(InvalidNode):
    """A vector is none that the collection's embedding model can have made."""


class NodeTaken(InvalidNode):
    """A node's id is that of another document's chunk."""

    slug = "already-exists"

    def __init__(self, node_id: str, *, holder: str) -> None:
        super().__init__(
            f"node {node_id[:80]!r} is a chunk of document {holder[:80]!r}; delete it there first, or give another id"
        )


class LoopBusy(FootnoteError):
    """The database's event loop does not run, or is blocked by the call that waits for it."""

    slug = "internal"


class WriteConflict(FootnoteError):
    """Another writer has changed the document since it was read."""

    slug = "store-unavailable"


class EmbeddedServerFailed(FootnoteError):
    """The embedded PostgreSQL could not be started."""

    slug = "store-unavailable"


class LeaseLost(FootnoteError):
    """This process lost the database for so long that its leases expired and others may have taken its work over."""

    slug = "store-unavailable"

    def __init__(self) -> None:
        super().__init__("the database was out of reach for too long; ask again")


class ConversationNotFound(CallerError):
    """No such conversation, for this tenant."""

    slug = "conversation-not-found"

    def __init__(self, conversation_id: str) -> None:
        super().__init__(f"there is no conversation {conversation_id!r}")


class ConversationBusy(CallerError):
    """Another message of the conversation is being answered."""

    slug = "conversation-busy"
    retry_after = 2
    retryable = True

    def __init__(self) -> None:
        super().__init__("another message of this conversation is being answered; wait for it to end")


class FeedbackNotFound(CallerError):
    """No such feedback, for this tenant."""

    slug = "feedback-not-found"

    def __init__(self, feedback_id: str) -> None:
        super().__init__(f"there is no feedback {feedback_id!r}")


class IdempotencyKeyReused(CallerError):
    """An idempotency key was used with another request."""

    slug = "invalid-request"
    field = "Idempotency-Key"

    def __init__(self) -> None:
        super().__init__("this key came with another request before; use a new key for a new request")


class AnswerNotFound(CallerError):
    """No answer has such a trace that whoever asks may reach."""

    slug = "feedback-not-found"

    def __init__(self, trace_id: str) -> None:
        super().__init__(f"there is no answer with the trace {trace_id!r}")


class GoldenQuestionNotFound(CallerError):
    """No such golden question, for this caller."""

    slug = "golden-question-not-found"

    def __init__(self, golden_id: str) -> None:
        super().__init__(f"there is no golden question {golden_id!r}")


class GoldenQuestionExists(CallerError):
    """The caller has a golden question that asks the same of the collection."""

    slug = "already-exists"

    def __init__(self) -> None:
        super().__init__("there is a golden question with the same words and filters already")


class GoldenDocumentNotFound(CallerError):
    """A golden question names documents that are not there, or that the caller may not read: nobody tells which.

    Attributes:
        field: the member that names them, ``documents`` or ``passages``.

    """

    slug = "invalid-request"

    def __init__(self, names: Sequence[str], *, field: str) -> None:
        most = 5
        shown = ", ".join(repr(each[:200]) for each in names[:most])
        more = f" and {len(names) - most} more" if len(names) > most else ""
        super().__init__(f"the collection has no such document: {shown}{more}")
        self.field = field


class TooManyGoldenQuestions(CallerError):
    """A collection has as many golden questions as it may have, or an evaluation would ask too many."""

    slug = "invalid-request"
    field = "golden"

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} golden questions are the most")


class EvaluationNotFound(CallerError):
    """No such evaluation, for this caller, or it has no result yet."""

    slug = "evaluation-not-found"

    def __init__(self, evaluation_id: str, *, what: str = "evaluation") -> None:
        super().__init__(f"there is no {what} {evaluation_id!r}")


class ReportGone(CallerError):
    """The address of a report is good for a short time only."""

    slug = "evaluation-not-found"

    def __init__(self) -> None:
        super().__init__("there is no report at this address, or not any more; open it again from the page")


class NothingToEvaluate(CallerError):
    """The collection has no golden question that the caller may see."""

    slug = "invalid-request"
    field = "collection"

    def __init__(self, collection: str) -> None:
        super().__init__(f"the collection {collection!r} has no golden questions; add some first")


class JobNotFound(CallerError):
    """No such job, for this tenant."""

    slug = "job-not-found"

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}")


class KeyNotFound(CallerError):
    """No such API key, or none that whoever asks may see."""

    slug = "key-not-found"

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id[:40]!r}")


class JobNotRetryable(CallerError):
    """The job cannot be retried: it has not failed, or a newer job has reached its document."""

    slug = "job-not-retryable"


class JobLost(FootnoteError):
    """The worker no longer owns the job: it was cancelled, or another worker has taken it over."""

    slug = "store-unavailable"

    def __init__(self) -> None:
        super().__init__("the job was cancelled, or taken up by another worker")


class WorkerDied(FootnoteError):
    """Every worker that ran the job ended before it did, up to the limit of attempts."""

    slug = "internal"


class JobTooLarge(CallerError):
    """A job's arguments or its result exceed the size limit."""

    slug = "too-large"


class JobTimedOut(FootnoteError):
    """A job took longer than the settings allow."""

    slug = "deadline-exceeded"
    retryable = True

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the job took longer than {seconds:g} seconds")


class UnknownJobKind(FootnoteError):
    """This worker has no handler for the job's kind; a worker of another version may have one."""

    slug = "internal"
    retryable = True

    def __init__(self, kind: str) -> None:
        super().__init__(f"this worker knows no jobs of the kind {kind!r}")
