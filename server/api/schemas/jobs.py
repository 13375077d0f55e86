"""Jobs as clients read them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from server.api.problems import INTERNAL, KINDS, RETRYABLE, FieldError, Problem
from server.api.schemas.fields import CollectionName, DocumentId
from server.api.schemas.pages import PageQuery
from storage.jobs.jobs import Job, JobError

JobStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class JobsQuery(PageQuery):
    """Which jobs."""

    collection: CollectionName | None = Field(None, description="Unset: any.")
    status: JobStatus | None = Field(None, description="Unset: any.")
    document_id: DocumentId | None = Field(None, description="Unset: any.")


class ProgressOut(BaseModel):
    """A job's progress, in units of its own."""

    done: int
    total: int | None = Field(description="Null while it is unknown.")


class JobOut(BaseModel):
    """A job."""

    id: UUID
    kind: str = Field(examples=["index-document"])
    collection: str
    document_id: str | None
    source: str | None = Field(
        description="What citations will name: the file's name or path, or the URL. Null: it brings no document.",
        examples=["handbook/travel.md"],
    )
    status: JobStatus = Field(
        description="`queued` and `running` change; the others are final, unless the job is retried."
    )
    waits_for: Literal["tenant"] | None = Field(
        description="`tenant`: it is not begun until its tenant is no longer suspended; null: for its turn alone."
    )
    progress: ProgressOut
    error: dict[str, Any] | None = Field(
        description="A problem document: why the job, or its last attempt, failed; else null."
    )
    result: dict[str, Any] | None = Field(description="Of a job that succeeded: `outcome`, `chunks` and others.")
    attempts: int
    superseded_by: UUID | None = Field(description="The newer job of the same document that replaced it.")
    request_id: str | None = Field(description="Of the request that submitted it.")
    trace_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    next_try_at: Annotated[datetime | None, Field(description="When the next attempt begins, where one is due.")]

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return a job as clients read it."""
        return cls(
            id=job.id,
            kind=job.kind,
            collection=job.collection,
            document_id=job.document_id,
            source=job.source,
            status=job.status,
            waits_for="tenant" if job.is_held and not job.has_ended else None,
            progress=ProgressOut(done=job.done, total=job.total),
            error=job_problem(job),
            result=None if job.result is None else dict(job.result),
            attempts=job.attempts,
            superseded_by=job.superseded_by,
            request_id=job.request_id,
            trace_id=_trace_id(job),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            next_try_at=job.next_try_at,
        )


def job_problem(job: Job) -> dict[str, Any] | None:
    """Return a job's error as a problem document, with the ids of the job's request and trace."""
    if job.error is None:
        return None
    problem = _problem(job.error)
    return problem.document(job.request_id or "") | {"trace_id": _trace_id(job), "retryable": problem.retryable}


def _problem(error: JobError) -> Problem:
    kind = KINDS.get(error.name, INTERNAL)
    return Problem(
        kind,
        error.detail,
        errors=(FieldError(error.field, error.detail),) if error.field and kind.slug == "invalid-request" else (),
        retryable=kind.slug in RETRYABLE,
    )


def _trace_id(job: Job) -> str | None:
    # W3C trace context: version, trace id, span id, flags
    return job.traceparent.split("-")[1] if job.traceparent else None
