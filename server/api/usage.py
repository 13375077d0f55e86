"""What language models have used."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.schemas.pages import PageOut
from server.api.schemas.usage import UsageOut, UsageQuery
from server.api.scopes import KNOWN, marked
from storage.caller import LOCAL, caller

router = APIRouter(tags=["usage"], responses=problem_responses(422, 500, 503, 504))


@router.get("/usage")
@marked(KNOWN)
async def list_usage(query: Annotated[UsageQuery, Query()], request: Request) -> PageOut[UsageOut]:
    """Add up what you have used, or where you see the whole tenant, what it has; in order of names.

    With a key of some collections, it is what was used for these. An answer is counted half a second after its end at
    the latest.
    """
    who = caller() or LOCAL
    first, last = query.days()
    limits = runtime_of(request).limits
    await limits.budgets.flush()
    found = await limits.usage.list(
        who.tenant,
        subject=None if who.sees_all else who.subject,
        first=first,
        last=last,
        by=query.by,
        limit=query.limit,
        cursor=query.cursor,
    )
    return PageOut[UsageOut].model_validate(found)
