"""Requests that upload a document: a form with a file, or JSON with a URL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ingestion.plug_ins import suffixes_read
from server.api.context import request_id_of, runtime_of
from server.api.json_body import JsonRequest
from server.api.schemas.documents import DocumentFields, UploadFields, WebPageBody
from server.services.documents import NewVersion, WebPage
from server.uploads.received_file import ReceivedFile, require_readable
from storage.generation import DEFAULT_COLLECTION

FORM = "multipart/form-data"
JSON = "application/json"
Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the request says outside of its body."""

    key: str | None
    replaces: str | None
    collection: str
    request_id: str


@asynccontextmanager
async def new_version(
    request: Request, *, key: str | None, replaces: str | None = None, collection: str = DEFAULT_COLLECTION
) -> AsyncIterator[NewVersion]:
    """Read an uploaded document; its temporary file exists until the block ends.

    `replaces` is the id of the document to replace; `collection` applies if the body names none.

    Raises:
        HTTPException: the body is neither a form nor JSON (415).
        RequestValidationError: a field is invalid.
        FootnoteError: as `Uploads.received` and `require_readable`.

    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "compressed bodies are not supported; leave Content-Encoding out")
    asked = _Asked(key, replaces, collection, request_id_of(request.scope))
    if media_type == FORM:
        uploads, content_type = runtime_of(request).uploads, request.headers["content-type"]
        async with uploads.received(request.stream(), content_type=content_type) as form:
            fields = _validated(UploadFields, form.fields)
            plugged_in = suffixes_read(runtime_of(request).settings.ingestion)
            await require_readable(form.file, plugged_in=plugged_in)
            yield _version(fields, form.file, asked)
    elif media_type == JSON:
        page = _validated(WebPageBody, await _json(request))
        yield _version(page, WebPage(page.url), asked)
    else:
        raise HTTPException(415, f"send a file as {FORM}, or {JSON} with a `url`")


def _version(fields: DocumentFields, content: ReceivedFile | WebPage, asked: _Asked) -> NewVersion:
    replaces = asked.replaces
    if replaces is not None and fields.document_id not in {None, replaces}:
        reason = "must be left out, or be the id in the address"
        raise RequestValidationError([{"type": "value_error", "loc": ("body", "document_id"), "msg": reason}])
    return NewVersion(
        content,
        collection=fields.collection or asked.collection,
        metadata=fields.metadata,
        document_id=replaces or fields.document_id,
        source=fields.source,
        title=fields.title,
        readers=None if fields.readers is None else tuple(fields.readers),
        must_exist=replaces is not None,
        key=asked.key,
        request_id=asked.request_id,
    )


def _validated(model: type[Model], given: object) -> Model:
    try:
        return model.model_validate(given)
    except ValidationError as exc:
        errors = [{**error, "loc": ("body", *error["loc"])} for error in exc.errors(include_url=False)]
        raise RequestValidationError(errors, body=given if isinstance(given, Mapping) else None) from None


async def _json(request: Request) -> Any:  # noqa: ANN401 (whatever JSON holds)
    try:
        return await JsonRequest(request.scope, request.receive).json()
    except JSONDecodeError as exc:
        error = {"type": "json_invalid", "loc": ("body",), "msg": exc.msg, "ctx": {"error": exc.msg}}
        raise RequestValidationError([error]) from None
