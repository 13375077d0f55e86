"""Asking: answers whole or in pieces, and retrieval alone."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter, Request, Response

from server.api.asking import Asked, answer_stream, answer_whole
from server.api.context import request_id_of, runtime_of
from server.api.disconnects import ended_by_disconnect
from server.api.documentation import STREAM, problem_responses
from server.api.json_body import JsonRoute
from server.api.schemas.answers import AnswerOut, RetrievedOut
from server.api.schemas.fields import IdempotencyKey
from server.api.schemas.questions import QuestionBody
from server.api.scopes import needs
from server.api.sse import EventStream

ASKING = problem_responses(400, 404, 409, 413, 415, 422, 429, 500, 502, 503, 504)
router = APIRouter(tags=["asking"], route_class=JsonRoute, responses=ASKING)


@router.post("/query", response_model=AnswerOut, responses={200: {"content": STREAM}})
@needs("query")
async def query(body: QuestionBody, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Answer a question with passages of a collection, and cite them.

    With nothing found above the bar the answer says so: `finish_reason` is `no_context`, and no model was called.
    With `"stream": true` this is `/query/stream`.
    """
    # one with a key may be read as a stream by whoever comes with the key again
    asked = _asked(body, request, whole=not body.stream and idempotency_key is None)
    if body.stream:
        return await answer_stream(request, asked, key=idempotency_key)
    return await answer_whole(request, asked, key=idempotency_key, schema=AnswerOut)


@router.post("/query/stream", status_code=200, response_class=EventStream, responses={200: {"content": STREAM}})
@needs("query")
async def query_stream(body: QuestionBody, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Answer a question as server-sent events.

    `sources`, any number of `token`, then exactly one `done` or `error`, then `data: [DONE]`. An error before the
    first event is a plain problem.
    """
    return await answer_stream(request, _asked(body, request), key=idempotency_key)


def _asked(body: QuestionBody, request: Request, *, whole: bool = False) -> Asked:
    answers, question = runtime_of(request).answers, replace(body.to_question(), whole=whole)
    return Asked("query", body, events=lambda _stream_id, _key: answers.stream(question), keeps_keys=False)


@router.post("/retrieve")
@needs("query")
async def retrieve(body: QuestionBody, request: Request) -> RetrievedOut:
    """Find the passages that `/query` would give to the model, without asking it."""
    async with ended_by_disconnect(request):
        retrieved = await runtime_of(request).answers.retrieve(body.to_question())
    return RetrievedOut.of(retrieved, request_id=request_id_of(request.scope))
