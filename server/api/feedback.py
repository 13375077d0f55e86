"""Ratings of answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.json_body import JsonRoute
from server.api.schemas.feedback import FeedbackBody, FeedbackId, FeedbackOut, FeedbackQuery, RatingOut
from server.api.schemas.pages import PageOut
from server.api.scopes import needs
from server.services.feedback import rate
from storage.reach import is_reachable, reachable_collections, require_reachable

router = APIRouter(tags=["feedback"], route_class=JsonRoute, responses=problem_responses(422, 500, 503, 504))


@router.post("/feedback", status_code=201, responses=problem_responses(400, 404, 413, 415))
@needs("feedback")
async def give_feedback(body: FeedbackBody, request: Request) -> RatingOut:
    """Rate an answer by its trace; a later rating of the same trace takes the place of the earlier one.

    An answer about a collection that the key does not reach is a 404.
    """
    runtime = runtime_of(request)
    if body.collection is not None:
        require_reachable(body.collection)
    if reachable_collections() is not None:
        await runtime.evidence.written()  # it says what an answer of a moment ago is about
    return RatingOut.model_validate(await rate(runtime.feedback, body.to_feedback()))


@router.get("/feedback")
@needs("feedback")
async def list_feedback(page: Annotated[FeedbackQuery, Query()], request: Request) -> PageOut[FeedbackOut]:
    """List ratings with the answers that they are about, the newest first."""
    found = await runtime_of(request).feedback.list(limit=page.limit, cursor=page.cursor, rating=page.rating)
    within = replace(found, items=tuple(each for each in found.items if is_reachable(each.collection or "")))
    return PageOut[FeedbackOut].model_validate(within)


@router.delete("/feedback/{feedback_id}", status_code=204, responses=problem_responses(404))
@needs("feedback")
async def delete_feedback(feedback_id: Annotated[FeedbackId, Path()], request: Request) -> None:
    """Delete a rating with all that was told with it."""
    await runtime_of(request).feedback.delete(feedback_id)
