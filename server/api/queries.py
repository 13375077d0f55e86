"""Asking: answers whole or in pieces, and retrieval alone."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from server.api.answer_schemas import AnswerOut, RetrievedOut
from server.api.context import request_id_of, runtime_of
from server.api.documentation import STREAM, problem_responses
from server.api.interrupts import ended_by_disconnect
from server.api.json_body import JsonRoute
from server.api.schemas import QuestionBody
from server.api.sse import EventStream, open_stream

ASKING = problem_responses(400, 404, 409, 413, 415, 422, 500, 502, 503, 504)
router = APIRouter(tags=["asking"], route_class=JsonRoute, responses=ASKING)


@router.post("/query", response_model=AnswerOut, responses={200: {"content": STREAM}})
async def query(body: QuestionBody, request: Request) -> AnswerOut | Response:
    """Answer a question with passages of a collection, and cite them.

    With nothing found above the bar the answer says so: `finish_reason` is `no_context`, and no model was called.
    With `"stream": true` this is `/query/stream`.
    """
    answers = runtime_of(request).answers
    if body.stream:
        return await open_stream(request, answers.stream(body.to_question()))
    async with ended_by_disconnect(request):
        answer = await answers.ask(body.to_question())
    return AnswerOut.of(answer, request_id=request_id_of(request.scope))


@router.post("/query/stream", status_code=200, response_class=EventStream, responses={200: {"content": STREAM}})
async def query_stream(body: QuestionBody, request: Request) -> Response:
    """Answer a question as server-sent events.

    `sources`, any number of `token`, then exactly one `done` or `error`, then `data: [DONE]`. An error before the
    first event is a plain problem.
    """
    return await open_stream(request, runtime_of(request).answers.stream(body.to_question()))


@router.post("/retrieve")
async def retrieve(body: QuestionBody, request: Request) -> RetrievedOut:
    """Find the passages that `/query` would give to the model, without asking it."""
    async with ended_by_disconnect(request):
        retrieved = await runtime_of(request).answers.retrieve(body.to_question())
    return RetrievedOut.of(retrieved, request_id=request_id_of(request.scope))
