"""Tenants, for the operator of all of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from server.api.context import runtime_of
from server.api.credentials import NEITHER
from server.api.documentation import problem_responses
from server.api.json_body import JsonRoute
from server.api.schemas.pages import PageOut, PageQuery
from server.api.schemas.tenants import RemovedOut, TenantBody, TenantName, TenantOut
from server.api.scopes import needs
from server.errors import Unauthenticated
from server.principal import Principal, principal

router = APIRouter(tags=["access"], route_class=JsonRoute, responses=problem_responses(422, 500, 503, 504))
Name = Annotated[TenantName, Path()]


@router.get("/tenants")
@needs("tenants")
async def list_tenants(page: Annotated[PageQuery, Query()], request: Request) -> PageOut[TenantOut]:
    """List all tenants by name, with what each has."""
    found = await runtime_of(request).tenants.list(limit=page.limit, cursor=page.cursor)
    return PageOut[TenantOut].model_validate(found)


@router.post("/tenants", status_code=201, responses=problem_responses(400, 409, 413, 415))
@needs("tenants")
async def create_tenant(body: TenantBody, request: Request, response: Response) -> TenantOut:
    """Make a tenant, which is empty; keys for it are made with `POST /keys`."""
    made = await runtime_of(request).tenants.create(body.id)
    response.headers["Location"] = f"/tenants/{made.id}"
    return TenantOut.model_validate(made)


@router.post("/tenants/{tenant}/suspend", responses=problem_responses(404))
@needs("tenants")
async def suspend_tenant(tenant: Name, request: Request) -> TenantOut:
    """Refuse a tenant's requests within a second, and let its jobs wait. Nothing is deleted."""
    return TenantOut.model_validate(await runtime_of(request).tenants.suspend(tenant, by=_who()))


@router.post("/tenants/{tenant}/resume", responses=problem_responses(404))
@needs("tenants")
async def resume_tenant(tenant: Name, request: Request) -> TenantOut:
    """Answer a suspended tenant's requests again, and let its jobs run."""
    return TenantOut.model_validate(await runtime_of(request).tenants.resume(tenant))


@router.delete("/tenants/{tenant}", responses=problem_responses(404))
@needs("tenants")
async def delete_tenant(tenant: Name, request: Request) -> RemovedOut:
    """Delete a tenant with everything that is its own. It cannot be undone.

    A 503, where a table of it is in use, or a 504 leaves it half deleted and refused: the same call goes on.
    """
    return RemovedOut(deleted=tenant, counts=dict(await runtime_of(request).tenants.delete(tenant, by=_who())))


def _who() -> Principal:
    """Return who asks; the gate lets nobody through that it does not know."""
    who = principal()
    if who is None:
        raise Unauthenticated(NEITHER, was_given=False)
    return who
