"""Jobs: the indexing of uploaded documents, and upkeep."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response

from server.api.context import runtime_of
from server.api.documentation import JOB_STREAM, problem_responses
from server.api.job_events import LAST_ID, JobEvents
from server.api.schemas.jobs import JobOut, JobsQuery
from server.api.schemas.pages import PageOut
from server.api.scopes import needs
from server.api.still import still_admitted

router = APIRouter(tags=["jobs"], responses=problem_responses(422, 500, 503, 504))
JobId = Annotated[UUID, Path(description="`job_id` of the answer to the request that submitted it.")]
LastEventId = Annotated[
    str | None,
    Header(max_length=32, description="`id` of the last event that arrived; browsers send it.", examples=["2"]),
]


@router.get("/jobs")
@needs("documents:read", "documents:write")
async def list_jobs(page: Annotated[JobsQuery, Query()], request: Request) -> PageOut[JobOut]:
    """List jobs, the newest first."""
    found = await runtime_of(request).jobs.list(
        limit=page.limit,
        cursor=page.cursor,
        collection=page.collection,
        status=page.status,
        document_id=page.document_id,
    )
    return PageOut[JobOut](items=[JobOut.of(job) for job in found.items], next_cursor=found.next_cursor)


@router.get("/jobs/{job_id}", responses=problem_responses(404))
@needs("documents:read", "documents:write")
async def get_job(job_id: JobId, request: Request) -> JobOut:
    """Tell how a job is doing."""
    return JobOut.of(await runtime_of(request).jobs.get(job_id))


@router.get(
    "/jobs/{job_id}/events",
    status_code=200,
    response_class=JobEvents,
    responses={
        200: {"content": JOB_STREAM},
        204: {"description": "The last event has arrived already."},
        **problem_responses(404),
    },
)
@needs("documents:read", "documents:write")
async def watch_job(job_id: JobId, request: Request, last_event_id: LastEventId = None) -> Response:
    """Follow a job as server-sent events.

    `progress` with the job as it is and whenever it has changed, then exactly one `done` with the job, or `error` with
    a problem, then `data: [DONE]`. A job that has ended already tells its end at once.
    """
    runtime = runtime_of(request)
    job = await runtime.jobs.get(job_id)
    if job.has_ended and last_event_id == LAST_ID:
        return Response(status_code=204)  # which tells a browser's EventSource to stay away
    drain = request.app.state.drain
    return JobEvents(
        job,
        jobs=runtime.jobs,
        watchers=runtime.watchers,
        ping_interval=runtime.settings.server.ping_interval,
        is_stopping=lambda: drain.closing,
        require=still_admitted(runtime_of(request)),
    )


@router.post("/jobs/{job_id}/retry", status_code=202, responses=problem_responses(404, 409))
@needs("documents:write")
async def retry_job(job_id: JobId, request: Request) -> JobOut:
    """Repeat a job that has failed, with all its attempts before it."""
    return JobOut.of(await runtime_of(request).jobs.retry(job_id))


@router.post("/jobs/{job_id}/cancel", responses=problem_responses(404))
@needs("documents:write")
async def cancel_job(job_id: JobId, request: Request) -> JobOut:
    """Cancel a job that waits or runs; one that has ended stays as it is. Nothing is written under it from here on."""
    return JobOut.of(await runtime_of(request).jobs.cancel(job_id))
