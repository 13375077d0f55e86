"""Documents: upload, replace, list, read, delete."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from server.api.context import runtime_of
from server.api.document_requests import FORM, JSON, new_version
from server.api.documentation import problem_responses
from server.api.schemas.documents import (
    MAX_INT,
    ChunkOut,
    ChunksQuery,
    DocumentOut,
    DocumentQuery,
    DocumentsQuery,
    DocumentTextOut,
    PictureQuery,
    RevisionQuery,
    SubmittedOut,
    UploadFields,
    WebPageBody,
)
from server.api.schemas.fields import DocumentId, IdempotencyKey
from server.api.schemas.pages import PageOut
from server.api.scopes import needs
from server.services.documents import NewVersion
from server.services.page_pictures import Marked
from server.uploads.received_file import file_name
from storage.documents.order import Order

router = APIRouter(tags=["documents"], responses=problem_responses(404, 422, 500, 503, 504))
BRINGING = problem_responses(400, 409, 413, 415)
REPLAYED = {"Idempotent-Replayed": "true"}
_LOCATION = {"Location": {"description": "The job's address.", "schema": {"type": "string"}}}


def _form_schema() -> dict[str, Any]:
    schema = UploadFields.model_json_schema()
    file = {"type": "string", "format": "binary", "minLength": 1, "description": "The file, with its name."}
    return schema | {"properties": {"file": file, **schema["properties"]}, "required": ["file"]}


BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {FORM: {"schema": _form_schema()}, JSON: {"schema": WebPageBody.model_json_schema()}},
    }
}


@router.get("/documents")
@needs("documents:read")
async def list_documents(page: Annotated[DocumentsQuery, Query()], request: Request) -> PageOut[DocumentOut]:
    """List a collection's documents, by id unless `sort` says otherwise; `q` looks in sources and titles."""
    found = await runtime_of(request).document_catalog.list(
        collection=page.collection,
        limit=page.limit,
        cursor=page.cursor,
        parent=page.parent,
        contains=page.q,
        order=Order(page.sort),
    )
    return PageOut[DocumentOut].model_validate(found)


@router.post(
    "/documents",
    status_code=202,
    responses={202: {"headers": _LOCATION}, **BRINGING},
    openapi_extra=BODY,
    response_model=SubmittedOut,
)
@needs("documents:write")
async def add_document(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Bring a document: a file in a form, or the URL of a page as JSON.

    The answer comes once it is kept; the job that it names makes it answer questions. A document with the same id, or
    without an id with the same source, is replaced; until the job has succeeded the old version answers.
    """
    async with new_version(request, key=idempotency_key) as new:
        return await _submitted(request, new)


@router.get("/documents/{document_id}")
@needs("documents:read")
async def get_document(
    document_id: Annotated[DocumentId, Path()], where: Annotated[DocumentQuery, Query()], request: Request
) -> DocumentOut:
    """Describe a document."""
    found = await runtime_of(request).document_catalog.get(document_id, collection=where.collection)
    return DocumentOut.model_validate(found)


@router.put(
    "/documents/{document_id}",
    status_code=202,
    responses={202: {"headers": _LOCATION}, **BRINGING},
    openapi_extra=BODY,
    response_model=SubmittedOut,
)
@needs("documents:write")
async def replace_document(
    document_id: Annotated[DocumentId, Path()],
    where: Annotated[DocumentQuery, Query()],
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Replace a document, which keeps its id; the old version answers until the job has succeeded.

    The document must be there, or on its way. It keeps its source unless another one is given; title and metadata are
    those of this request.
    """
    async with new_version(request, key=idempotency_key, replaces=document_id, collection=where.collection) as new:
        return await _submitted(request, new)


@router.delete("/documents/{document_id}", status_code=204, responses=problem_responses(409))
@needs("documents:write")
async def delete_document(
    document_id: Annotated[DocumentId, Path()], where: Annotated[DocumentQuery, Query()], request: Request
) -> None:
    """Delete a document from every generation, and cancel what would bring it back.

    It does not answer from here on, whatever jobs and builds were doing. One that is only on its way is deleted too. A
    mail's attachments go with it; an attachment alone is a 409.
    """
    await runtime_of(request).documents.delete(document_id, collection=where.collection)


@router.get(
    "/documents/{document_id}/content",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)
@needs("documents:download")
async def get_document_content(
    document_id: Annotated[DocumentId, Path()], where: Annotated[DocumentQuery, Query()], request: Request
) -> Response:
    """Return the bytes that a document was made of, as a download."""
    content = await runtime_of(request).documents.content(document_id, collection=where.collection)
    headers = {
        "Content-Disposition": _attachment(content.name),
        "ETag": f'"{content.content_hash}"',
        # uploaded content must not run in a browser as a page of this server
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return StreamingResponse(content.blocks, media_type="application/octet-stream", headers=headers)


@router.get("/documents/{document_id}/text")
@needs("documents:read")
async def get_document_text(
    document_id: Annotated[DocumentId, Path()], where: Annotated[RevisionQuery, Query()], request: Request
) -> DocumentTextOut:
    """Return a document's text as it is indexed, with its pages.

    White space between passages is not stored: there are as many blanks and line ends, so that offsets are right.
    """
    found = await runtime_of(request).document_texts.whole(
        document_id, collection=where.collection, revision=where.revision
    )
    return DocumentTextOut.model_validate(found)


@router.get("/documents/{document_id}/chunks")
@needs("documents:read")
async def list_document_chunks(
    document_id: Annotated[DocumentId, Path()], page: Annotated[ChunksQuery, Query()], request: Request
) -> PageOut[ChunkOut]:
    """List the passages that a document's text was cut into, with their places in it."""
    found = await runtime_of(request).document_texts.chunks(
        document_id, collection=page.collection, limit=page.limit, cursor=page.cursor
    )
    return PageOut[ChunkOut].model_validate(found)


@router.get(
    "/documents/{document_id}/pages/{page}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}},
)
@needs("documents:read")
async def get_document_page(
    document_id: Annotated[DocumentId, Path()],
    page: Annotated[int, Path(ge=1, le=MAX_INT)],
    where: Annotated[PictureQuery, Query()],
    request: Request,
) -> Response:
    """Return a page of a PDF or of a picture as PNG, with what stands between two offsets of the text marked."""
    picture = await runtime_of(request).page_pictures.draw(
        document_id, Marked(page, where.start, where.end), collection=where.collection, revision=where.revision
    )
    headers = {
        "ETag": f'"{picture.key}"',
        "Cache-Control": "private, max-age=3600",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(picture.png, media_type="image/png", headers=headers)


async def _submitted(request: Request, new: NewVersion) -> Response:
    made = await runtime_of(request).documents.submit(new)  # completes even if the client disconnects
    headers = {"Location": f"/jobs/{made.job_id}", **(REPLAYED if made.is_replay else {})}
    out = SubmittedOut(document_id=made.document_id, job_id=made.job_id)
    return Response(out.model_dump_json(), status_code=202, media_type="application/json", headers=headers)


def _attachment(name: str) -> str:
    """Return ``Content-Disposition`` (RFC 6266) with the name in UTF-8, and in ASCII for old clients."""
    safe = file_name(name)
    plain = "".join(char if char.isascii() and char not in '"%' else "_" for char in safe)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(safe, safe='')}"
