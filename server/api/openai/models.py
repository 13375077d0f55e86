"""Lists collections and the embedding models as OpenAI's models."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from server.api.context import runtime_of
from server.api.json_body import JsonRoute
from server.api.openai.answer_schemas import ModelOut, ModelsOut
from server.api.openai.errors import PREFIX, error_responses
from server.api.openai.schemas import DIRECT, OWNER, ModelName, collection_of
from server.api.scopes import needs
from storage.collections.collections import CollectionInfo

PAGE = 1000
router = APIRouter(prefix=PREFIX, tags=["openai"], route_class=JsonRoute, responses=error_responses())


@router.get("/models")
@needs("query")
async def list_models(request: Request) -> ModelsOut:
    """List the collections, each as a model to chat with, the model without documents, and the embedding models."""
    runtime = runtime_of(request)
    found: list[ModelOut] = []
    cursor: str | None = None
    while True:  # the protocol has no pages
        page = await runtime.collection_catalog.list(limit=PAGE, cursor=cursor)
        found += [_chat_model(collection) for collection in page.items]
        if (cursor := page.next_cursor) is None:
            return ModelsOut(data=[*found, _direct_model(), *map(_embedding_model, runtime.embeddings.names)])


@router.get("/models/{model:path}")
@needs("query")
async def retrieve_model(model: Annotated[ModelName, Path()], request: Request) -> ModelOut:
    """Describe a model: a collection with or without `footnote/` before its name, or an embedding model."""
    runtime = runtime_of(request)
    if model in runtime.embeddings.names:
        return _embedding_model(model)
    if model == DIRECT:
        return _direct_model()
    return _chat_model(await runtime.collection_catalog.info(collection_of(model)))


def _chat_model(collection: CollectionInfo) -> ModelOut:
    return ModelOut(id=f"{OWNER}/{collection.name}", created=int(collection.created_at.timestamp()), owned_by=OWNER)


def _direct_model() -> ModelOut:
    return ModelOut(id=DIRECT, created=0, owned_by=OWNER)


def _embedding_model(name: str) -> ModelOut:
    return ModelOut(id=name, created=0, owned_by=OWNER)
