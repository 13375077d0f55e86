"""The record of who did what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request

from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.schemas.audit import AuditOut, AuditQuery
from server.api.schemas.pages import PageOut
from server.api.scopes import needs
from server.errors import Forbidden
from server.principal import ADMIN, principal
from storage.reach import reachable_collections

router = APIRouter(tags=["audit"], responses=problem_responses(422, 500, 503, 504))


@router.get("/audit")
@needs("audit")
async def list_audit(query: Annotated[AuditQuery, Query()], request: Request) -> PageOut[AuditOut]:
    """List what was done in your tenant, and what was refused, the newest first."""
    if reachable_collections() is not None:
        raise Forbidden(ADMIN, "the record is of the whole tenant, of which this key reaches some collections only")
    record = runtime_of(request).audit
    found = await record.list(query.which(), limit=query.limit, cursor=query.cursor)
    who = principal()
    readable = {"documents": "documents:read", "keys": "keys"}
    names = await record.names(found.items, **{each: who is not None and who.may(readable[each]) for each in readable})
    return PageOut[AuditOut](items=[AuditOut.of(each, names) for each in found.items], next_cursor=found.next_cursor)
