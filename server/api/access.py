"""Who may read a document: set, and explained."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.schemas.access import ExplainQuery, ExplanationOut, ReadersBody, ReadersOut
from server.api.schemas.documents import DocumentQuery
from server.api.schemas.fields import DocumentId
from server.api.scopes import needs

router = APIRouter(tags=["documents"], responses=problem_responses(404, 422, 500, 503, 504))


@router.put("/documents/{document_id}/readers", responses=problem_responses(409))
@needs("documents:write")
async def set_document_readers(
    document_id: Annotated[DocumentId, Path()],
    where: Annotated[DocumentQuery, Query()],
    body: ReadersBody,
    request: Request,
) -> ReadersOut:
    """Say who may read a document and its attachments. It holds from the next question on; nothing is indexed again."""
    readers = await runtime_of(request).document_readers.put(document_id, body.readers, collection=where.collection)
    return ReadersOut(document_id=document_id, readers=list(readers))


@router.get("/access/explain")
@needs("documents:read")
async def explain_access(asked: Annotated[ExplainQuery, Query()], request: Request) -> ExplanationOut:
    """Tell why somebody may read a document, or not. Who may not read it gets a 404, as for one that is not there."""
    found = await runtime_of(request).document_readers.explain(
        asked.document_id, collection=asked.collection, subject=asked.subject, groups=asked.group_names
    )
    return ExplanationOut.model_validate(found)
