"""Resuming and stopping streams."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response

from server.api.context import runtime_of
from server.api.documentation import STREAM, problem_responses
from server.api.scopes import needs
from server.api.sse import EventStream, resumed_stream

router = APIRouter(tags=["asking"], responses=problem_responses(404, 422, 500, 503))
StreamId = Annotated[str, Path(pattern="^[0-9a-f]{48}$", description="`X-Stream-ID` of the answer.")]
LastEventId = Annotated[
    str | None,
    Header(
        max_length=32, description="`id` of the last event that arrived; unset: from the beginning.", examples=["7"]
    ),
]


@router.get(
    "/streams/{stream_id}",
    status_code=200,
    response_class=EventStream,
    responses={200: {"content": STREAM}, 204: {"description": "That was the stream's last event."}},
)
@needs("query")
async def resume_stream(stream_id: StreamId, request: Request, last_event_id: LastEventId = None) -> Response:
    """Take a dropped stream up again, behind the event that arrived last.

    The answer was written on meanwhile, for the settings' grace time; what has ended is kept for a while. Nothing is
    asked or written twice.
    """
    return await resumed_stream(request, stream_id, last_event_id=last_event_id)


@router.delete("/streams/{stream_id}", status_code=204)
@needs("query")
async def stop_stream(stream_id: StreamId, request: Request) -> None:
    """Stop an answer that is being written: its model is cancelled, and its readers get `error` with `stream-stopped`.

    A conversation keeps what was written of it. Of an answer that has ended already nothing changes.
    """
    await runtime_of(request).streams.stop(stream_id)
