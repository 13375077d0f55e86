"""API keys, and who asks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from server.api.context import runtime_of
from server.api.credentials import NEITHER
from server.api.documentation import problem_responses
from server.api.json_body import JsonRoute
from server.api.schemas.keys import KeyBody, KeyLimitsBody, KeyOut, KeysQuery, MadeKeyOut, MeOut, RotationBody
from server.api.schemas.pages import PageOut
from server.api.scopes import KNOWN, marked, needs
from server.errors import Unauthenticated
from server.principal import Principal, principal

router = APIRouter(tags=["access"], route_class=JsonRoute, responses=problem_responses(422, 500, 503, 504))
KeyId = Annotated[str, Path(pattern="^[a-z0-9]{12}$", description="The part of the key after `fn_`.")]
BODY = problem_responses(400, 413, 415)
SECRET = {"Cache-Control": "no-store"}


@router.get("/me")
@marked(KNOWN)
async def show_me(request: Request) -> MeOut:
    """Tell who asks, what that one may do, and how much."""
    limits = await runtime_of(request).limits.of_caller.overview()
    return MeOut.of(_who(), limits=asdict(limits))


@router.get("/keys")
@needs("keys")
async def list_keys(page: Annotated[KeysQuery, Query()], request: Request) -> PageOut[KeyOut]:
    """List API keys by id, revoked ones too: an administrator's are those of the tenant, others' their own."""
    found = await runtime_of(request).keys.list(by=_who(), tenant=page.tenant, limit=page.limit, cursor=page.cursor)
    return PageOut[KeyOut].model_validate(found)


@router.post("/keys", status_code=201, responses=BODY)
@needs("keys")
async def create_key(body: KeyBody, request: Request, response: Response) -> MadeKeyOut:
    """Make an API key. It can do no more than whoever makes it; the answer is the only place that shows it."""
    made = await runtime_of(request).keys.create(body.to_key(), by=_who())
    response.headers.update(SECRET)
    return MadeKeyOut.of(made)


@router.post("/keys/{key_id}/rotate", responses=problem_responses(404) | BODY)
@needs("keys")
async def rotate_key(
    key_id: KeyId, request: Request, response: Response, body: RotationBody | None = None
) -> MadeKeyOut:
    """Give a key another secret; the earlier one is good for the overlap, so that no client has to stop."""
    overlap = (body or RotationBody()).overlap
    made = await runtime_of(request).keys.rotate(key_id, by=_who(), overlap=overlap)
    response.headers.update(SECRET)
    return MadeKeyOut.of(made)


@router.put("/keys/{key_id}/limits", responses=problem_responses(404) | BODY)
@needs("keys")
async def limit_key(key_id: KeyId, body: KeyLimitsBody, request: Request) -> KeyOut:
    """Replace a key's own limits: every server follows within a second. Nobody gives a key more than he has."""
    return KeyOut.model_validate(await runtime_of(request).keys.limit(key_id, body.own, by=_who()))


@router.delete("/keys/{key_id}", status_code=204, responses=problem_responses(404))
@needs("keys")
async def revoke_key(key_id: KeyId, request: Request) -> None:
    """Revoke a key: every server refuses it within a second. It stays in the list."""
    await runtime_of(request).keys.revoke(key_id, by=_who())


def _who() -> Principal:
    """Return who asks; the gate lets nobody through that it does not know."""
    who = principal()
    if who is None:
        raise Unauthenticated(NEITHER, was_given=False)
    return who
