"""A job, and its row in ``footnote.jobs``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID

from storage.database import storable
from storage.errors import JobTooLarge

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection
    from storage.jobs.payloads import Payload

Status = Literal["queued", "running", "succeeded", "failed", "cancelled"]
MAX_BYTES = 32_768
"""Of a job's arguments, and of its result, as JSON."""

IS_HELD = "EXISTS (SELECT FROM footnote.tenants t WHERE t.id = j.tenant_id AND t.status <> 'active')"
"""Whether a job, ``j``, waits until its tenant is no longer suspended."""

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")

# rows written before errors had slugs hold the names of these classes
_SLUGS_OF_OLD_NAMES = {
    "BuildRunning": "generation-not-ready",
    "ClusterUnavailable": "store-unavailable",
    "CollectionNotFound": "collection-not-found",
    "CommandRefused": "invalid-request",
    "DocumentNotFound": "document-not-found",
    "EmbeddedServerFailed": "store-unavailable",
    "EmbeddingFailed": "model-unavailable",
    "EmbeddingMismatch": "embedding-mismatch",
    "EmbeddingModelNotFound": "model-unavailable",
    "FetchFailed": "fetch-failed",
    "FetchRefused": "invalid-request",
    "GenerationBehind": "generation-not-ready",
    "GenerationNotFound": "invalid-request",
    "GenerationNotReady": "generation-not-ready",
    "GenerationRetired": "store-unavailable",
    "InvalidCollection": "invalid-request",
    "JobLost": "store-unavailable",
    "JobTimedOut": "deadline-exceeded",
    "JobTooLarge": "too-large",
    "LeaseLost": "store-unavailable",
    "MissingKey": "internal",
    "OriginalNotFound": "document-not-found",
    "SchemaMismatch": "store-unavailable",
    "StoreFailed": "internal",
    "StoreRefused": "store-unavailable",
    "StoreTimeout": "deadline-exceeded",
    "StoreUnavailable": "store-unavailable",
    "TableGone": "store-unavailable",
    "UnknownJobKind": "internal",
    "Unreadable": "invalid-request",
    "WorkerDied": "internal",
    "WriteConflict": "store-unavailable",
}


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed, or what its last attempt met.

    Attributes:
        name: the error's `slug` (see `config.errors`).
        detail: fit for clients, as a `FootnoteError` is.
        field: the part of the request that is to blame, if one is.

    """

    name: str
    detail: str
    field: str | None = None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be submitted.

    Attributes:
        payload: its kind, and what its handler must know: `MAX_BYTES` of JSON at most. References, not documents.
        document_id: the document that it brings up to date. Of one document's jobs one runs at a time, and a newer one
            takes the place of those that still wait.
        lock: of a job without a document: within a collection, jobs with the same lock run one at a time.
        priority: higher goes first.
        idempotency_key: submitting it again returns the existing job, for as long as that is kept.
        idempotency_fingerprint: of the request that the key came with.

    """

    payload: Payload
    collection: str
    document_id: str | None = None
    lock: str | None = None
    priority: int = 0
    request_id: str | None = None
    idempotency_key: str | None = None
    idempotency_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A job.

    Attributes:
        subject: who submitted it, in the tenant.
        arguments: its payload, as stored.
        done, total: progress, in units of the job's own; `total` is None while it is unknown.
        attempts: how often it was begun, without the attempts that a stopping worker gave back.
        error: of a failed job, and of one that waits to be retried.
        superseded_by: the newer job of the same document because of which it was cancelled.
        traceparent: W3C trace context of whoever submitted it.
        next_try_at: when it is due, where it waits to be retried.
        is_held: its tenant is suspended: until that ends it is not begun, nor gone on with.

    """

    id: UUID
    tenant: str
    subject: str
    collection: str
    kind: str
    document_id: str | None
    arguments: Mapping[str, object]
    status: Status
    done: int
    total: int | None
    attempts: int
    error: JobError | None
    result: Mapping[str, object] | None
    superseded_by: UUID | None
    traceparent: str | None
    request_id: str | None
    created_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    next_try_at: datetime | None
    finished_at: datetime | None
    is_held: bool = False

    @property
    def has_ended(self) -> bool:
        """Whether it will not run again unless a client retries it."""
        return self.status not in ("queued", "running")

    @property
    def source(self) -> str | None:
        """The source of the document that it brings; None: it brings none."""
        source = self.arguments.get("source")
        return source if isinstance(source, str) else None


def document_lock(tenant: str, collection: str, document_id: str) -> str:
    """Return the lock of a document's jobs."""
    return f"{tenant}/{collection}/document/{document_id}"


def source_lock(tenant: str, collection: str, source: str) -> str:
    """Return the lock of those who give a source to a document; it is taken before a document's."""
    return f"{tenant}/{collection}/source/{source}"


def lock_of(tenant: str, new: NewJob) -> str | None:
    """Return the job's lock: jobs with the same one run one at a time; None: it runs beside any other."""
    if new.document_id is not None:
        return document_lock(tenant, new.collection, new.document_id)
    return None if new.lock is None else f"{tenant}/{new.collection}/{new.lock}"


async def lock_jobs(connection: Connection, lock: str) -> None:
    """Hold off whoever else submits, retries or requeues a job with this lock, until the transaction ends."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"jobs {lock}")


def storable_json(value: object) -> str:
    """Return a value as JSON that PostgreSQL takes: without NUL, which no text of it can hold."""
    return _NUL.sub(r"\1", storable(json.dumps(value, ensure_ascii=False, allow_nan=False)))


def bounded_json(value: Mapping[str, object]) -> str:
    """Return a mapping as JSON that PostgreSQL takes.

    Raises:
        JobTooLarge: it is larger than `MAX_BYTES`.

    """
    text = storable_json(value)
    if len(text.encode()) > MAX_BYTES:
        msg = f"a job's arguments and its result are {MAX_BYTES} bytes of JSON at most"
        raise JobTooLarge(msg)
    return text


def job_of(row: asyncpg.Record) -> Job:
    """Return the job that a row of ``footnote.jobs`` is."""
    return Job(
        id=row["id"],
        tenant=row["tenant_id"],
        subject=row["subject"],
        collection=row["collection"],
        kind=row["kind"],
        document_id=row["document_id"],
        arguments=json.loads(row["arguments"]),
        status=row["status"],
        done=row["done"],
        total=row["total"],
        attempts=row["attempts"],
        error=_error_of(json.loads(row["error"])) if row["error"] else None,
        result=json.loads(row["result"]) if row["result"] else None,
        superseded_by=row["superseded_by"],
        traceparent=row["traceparent"],
        request_id=row["request_id"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        heartbeat_at=row["heartbeat_at"],
        next_try_at=row["next_try_at"],
        finished_at=row["finished_at"],
        is_held=row.get("is_held", False),
    )


def _error_of(stored: Mapping[str, str | None]) -> JobError:
    name = str(stored["name"])
    return JobError(_SLUGS_OF_OLD_NAMES.get(name, name), str(stored["detail"]), stored.get("field"))


def error_json(error: JobError | None) -> str | None:
    """Return an error as stored."""
    return None if error is None else storable_json(asdict(error))
