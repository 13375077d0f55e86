"""Collections, to read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.schemas import CollectionName, CollectionOut, PageOut, PageQuery

router = APIRouter(tags=["collections"], responses=problem_responses(422, 500, 503, 504))


@router.get("/collections")
async def list_collections(page: Annotated[PageQuery, Query()], request: Request) -> PageOut[CollectionOut]:
    """List collections by name."""
    found = await runtime_of(request).catalog.collections(limit=page.limit, cursor=page.cursor)
    return PageOut[CollectionOut].model_validate(found)


@router.get("/collections/{name}", responses=problem_responses(404))
async def get_collection(name: Annotated[CollectionName, Path()], request: Request) -> CollectionOut:
    """Describe a collection."""
    return CollectionOut.model_validate(await runtime_of(request).catalog.collection(name))
