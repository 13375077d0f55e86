"""Documents, to read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.schemas import DocumentId, DocumentOut, DocumentQuery, DocumentsQuery, PageOut

router = APIRouter(tags=["documents"], responses=problem_responses(404, 422, 500, 503, 504))


@router.get("/documents")
async def list_documents(page: Annotated[DocumentsQuery, Query()], request: Request) -> PageOut[DocumentOut]:
    """List a collection's documents by id."""
    found = await runtime_of(request).catalog.documents(
        collection=page.collection, limit=page.limit, cursor=page.cursor
    )
    return PageOut[DocumentOut].model_validate(found)


@router.get("/documents/{document_id}")
async def get_document(
    document_id: Annotated[DocumentId, Path()], where: Annotated[DocumentQuery, Query()], request: Request
) -> DocumentOut:
    """Describe a document."""
    found = await runtime_of(request).catalog.document(document_id, collection=where.collection)
    return DocumentOut.model_validate(found)
