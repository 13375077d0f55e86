"""Chat completions: each request carries its conversation, and nothing is stored."""

from __future__ import annotations

import time
from uuid import uuid4

from fastapi import APIRouter, Request, Response

from server.answers import collect
from server.api.context import request_id_of, runtime_of
from server.api.disconnects import ended_by_disconnect
from server.api.json_body import JsonRoute
from server.api.openai.answer_schemas import CompletionOut
from server.api.openai.documentation import CHUNKS
from server.api.openai.encoding import ChunkEncoder
from server.api.openai.errors import PREFIX, error_responses
from server.api.openai.schemas import CompletionBody
from server.api.scopes import needs
from server.api.sse import open_stream

router = APIRouter(prefix=PREFIX, tags=["openai"], route_class=JsonRoute, responses=error_responses())


@router.post("/chat/completions", response_model=CompletionOut, responses={200: {"content": CHUNKS}})
@needs("query")
async def create_chat_completion(body: CompletionBody, request: Request) -> CompletionOut | Response:
    """Answer the last message with passages of the collection that `model` names, and cite them.

    Earlier messages are read as history, those of the roles `system` and `developer` as instructions. The passages
    are in the message's `citations`; with `"stream": true` they come with the last chunks.
    """
    answers, turn = runtime_of(request).answers, body.to_turn()
    events = answers.direct(turn) if body.is_direct else answers.chat(turn)
    completion_id, created = f"chatcmpl-{uuid4().hex}", int(time.time())
    request_id = request_id_of(request.scope)
    if body.stream:
        encoder = ChunkEncoder(
            completion_id=completion_id,
            created=created,
            model=body.model,
            request_id=request_id,
            include_usage=bool(body.stream_options and body.stream_options.include_usage),
            form=body.form,
        )
        return await open_stream(request, events, encoder=encoder)
    async with ended_by_disconnect(request):
        answer = await collect(events)
    return CompletionOut.of(
        answer,
        completion_id=completion_id,
        created=created,
        model=body.model,
        request_id=request_id,
        form=body.form,
    )
