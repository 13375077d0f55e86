"""Who was shown a document."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request

from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.schemas.evidence import DocumentAnswerOut, DocumentAnswersQuery
from server.api.schemas.fields import DocumentId
from server.api.schemas.pages import PageOut
from server.api.scopes import needs
from server.principal import seeing_the_record
from storage.reach import require_reachable

router = APIRouter(tags=["documents"], responses=problem_responses(404, 422, 500, 503, 504))


@router.get("/documents/{document_id}/answers")
@needs("audit", "query")
async def list_answers_of_document(
    document_id: Annotated[DocumentId, Path()], page: Annotated[DocumentAnswersQuery, Query()], request: Request
) -> PageOut[DocumentAnswerOut]:
    """List the answers that showed passages of a document, the latest first; also of one that has been deleted.

    Whoever has `audit`, or is an administrator, sees those of the whole tenant, others the answers to themselves. A
    document that there is not, and of which no answer is recorded, is a 404.
    """
    runtime = runtime_of(request)
    require_reachable(page.collection)
    with seeing_the_record():
        found = await runtime.evidence.answers_of(
            document_id, collection=page.collection, limit=page.limit, cursor=page.cursor, cited=page.cited
        )
        is_known = found.items or page.cursor is not None
        if not is_known and page.cited is not None:
            is_known = (await runtime.evidence.answers_of(document_id, collection=page.collection, limit=1)).items
    if not is_known:
        await runtime.document_catalog.get(document_id, collection=page.collection)  # or say that there is none
    return PageOut[DocumentAnswerOut](
        items=[DocumentAnswerOut.of(each) for each in found.items], next_cursor=found.next_cursor
    )
