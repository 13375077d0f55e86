"""Collections and their generations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.json_body import JsonRoute
from server.api.schemas.collections import (
    ActivationBody,
    ActivationOut,
    CollectionBody,
    CollectionOut,
    GenerationOut,
    SuggestionOut,
    SuggestionsQuery,
)
from server.api.schemas.fields import CollectionName
from server.api.schemas.pages import PageOut, PageQuery
from server.api.scopes import needs

router = APIRouter(tags=["collections"], route_class=JsonRoute, responses=problem_responses(422, 500, 503, 504))
Name = Annotated[CollectionName, Path()]
BODY = problem_responses(400, 409, 413, 415)


@router.get("/collections")
@needs("query", "documents:read")
async def list_collections(page: Annotated[PageQuery, Query()], request: Request) -> PageOut[CollectionOut]:
    """List collections by name."""
    found = await runtime_of(request).collection_catalog.list(limit=page.limit, cursor=page.cursor)
    return PageOut[CollectionOut].model_validate(found)


@router.post("/collections", status_code=201, responses=BODY)
@needs("collections:write")
async def create_collection(body: CollectionBody, request: Request, response: Response) -> CollectionOut:
    """Make a collection, which is empty."""
    made = await runtime_of(request).collections.create(body.to_collection())
    response.headers["Location"] = f"/collections/{made.name}"
    return CollectionOut.model_validate(made)


@router.get("/collections/{name}", responses=problem_responses(404))
@needs("query", "documents:read")
async def get_collection(name: Name, request: Request) -> CollectionOut:
    """Describe a collection."""
    return CollectionOut.model_validate(await runtime_of(request).collection_catalog.info(name))


@router.delete("/collections/{name}", status_code=204, responses=problem_responses(404))
@needs("collections:write")
async def delete_collection(name: Name, request: Request) -> None:
    """Delete a collection with all its generations and documents, and cancel its jobs. It cannot be undone."""
    await runtime_of(request).collections.delete(name)


@router.get("/collections/{name}/generations", responses=problem_responses(404))
@needs("query", "documents:read")
async def list_generations(name: Name, page: Annotated[PageQuery, Query()], request: Request) -> PageOut[GenerationOut]:
    """List a collection's generations, the newest first."""
    found = await runtime_of(request).collections.generations(name, limit=page.limit, cursor=page.cursor)
    return PageOut[GenerationOut].model_validate(found)


@router.get("/collections/{name}/suggestions", responses=problem_responses(404))
@needs("query")
async def list_suggestions(
    name: Name, wanted: Annotated[SuggestionsQuery, Query()], request: Request
) -> PageOut[SuggestionOut]:
    """Suggest questions, made of headings of documents that the caller may read; no model is called."""
    found = await runtime_of(request).suggestions.of(name, limit=wanted.limit)
    return PageOut[SuggestionOut](items=[SuggestionOut.model_validate(each) for each in found], next_cursor=None)


@router.post("/collections/{name}/activate", responses=problem_responses(404) | BODY)
@needs("collections:write")
async def activate_generation(name: Name, body: ActivationBody, request: Request) -> ActivationOut:
    """Let a generation answer from now on; going back to an earlier one is the same.

    It is one transaction: each request is answered from one generation, and none finds nothing. A job then brings
    documents that were changed since into the generation that answers.
    """
    done = await runtime_of(request).collections.activate(name, generation=body.generation)
    return ActivationOut.model_validate(done)
