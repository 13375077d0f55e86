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
from server.principal import ADMIN
from storage.reach import reachable_collections

router = APIRouter(tags=["audit"], responses=problem_responses(422, 500, 503, 504))


@router.get("/audit")
@needs("audit")
async def list_audit(query: Annotated[AuditQuery, Query()], request: Request) -> PageOut[AuditOut]:
    """List what was done in your tenant, and what was refused, the newest first."""
    if reachable_collections() is not None:
        raise Forbidden(ADMIN, "the record is of the whole tenant, of which this key reaches some collections only")
    found = await runtime_of(request).audit.list(query.which(), limit=query.limit, cursor=query.cursor)
    return PageOut[AuditOut].model_validate(found)
