"""Documents as resources: listed page by page, read in parts."""

from __future__ import annotations

import base64
import binascii
import json

from mcp_types import (
    Annotations,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

from server.api.contracts import Runtime
from server.mcp.addresses import TEMPLATE, DocumentAddress, parse_address
from server.mcp.arguments import MAX_CHARACTERS
from server.principal import require_scope
from storage.documents.catalog import DocumentInfo
from storage.errors import InvalidCursor

PAGE = 100
MAX_CURSOR_LENGTH = 8192
MEDIA_TYPE = "text/plain"
TEMPLATES = ListResourceTemplatesResult(
    resource_templates=[
        ResourceTemplate(
            name="document",
            title="A document's text",
            uri_template=TEMPLATE,
            description=f"At most {MAX_CHARACTERS} characters from `offset` on; the id is percent-encoded.",
            mime_type=MEDIA_TYPE,
        )
    ]
)


async def list_resources(runtime: Runtime, cursor: str | None) -> ListResourcesResult:
    """List the documents of every collection; a page holds those of one collection, and may be empty.

    Raises:
        InvalidCursor: the cursor is not one that Footnote issued.
        Forbidden: whoever asks may not read documents.

    """
    require_scope("documents:read")
    place, within = _read_cursor(cursor)
    collections = await runtime.collection_catalog.list(limit=1, cursor=place)
    if not collections.items:
        return ListResourcesResult(resources=[])
    name = collections.items[0].name
    documents = await runtime.document_catalog.list(collection=name, limit=PAGE, cursor=within)
    following = None
    if documents.next_cursor is not None:
        following = _make_cursor(place, documents.next_cursor)
    elif collections.next_cursor is not None:
        following = _make_cursor(collections.next_cursor, None)
    return ListResourcesResult(resources=[_resource(item) for item in documents.items], next_cursor=following)


async def read_resource(runtime: Runtime, uri: str) -> ReadResourceResult:
    """Return a part of a document's text; if there is more, a second content says where it continues.

    Raises:
        NoSuchAddress: the URI is not a document's address.
        DocumentNotFound: there is no such document.
        Forbidden: whoever asks may not read documents.

    """
    require_scope("documents:read")
    address = parse_address(uri)
    part = await runtime.document_texts.part(
        address.document_id, collection=address.collection, offset=address.offset, limit=MAX_CHARACTERS
    )
    contents = [TextResourceContents(uri=uri, mime_type=MEDIA_TYPE, text=part.text)]
    if part.next_offset is not None:
        following = str(DocumentAddress(address.collection, address.document_id, offset=part.next_offset))
        more = f"These were characters {part.offset} to {part.next_offset} of {part.total}; read {following} for more."
        contents.append(TextResourceContents(uri=following, mime_type=MEDIA_TYPE, text=more))
    return ReadResourceResult(contents=list(contents))


def _resource(document: DocumentInfo) -> Resource:
    return Resource(
        uri=str(DocumentAddress(document.collection, document.id)),
        name=document.source,
        title=document.title,
        mime_type=MEDIA_TYPE,
        annotations=Annotations(last_modified=document.ingested_at.isoformat()),
    )


def _make_cursor(place: str | None, within: str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([place, within]).encode()).decode()


def _read_cursor(cursor: str | None) -> tuple[str | None, str | None]:
    if cursor is None:
        return None, None
    try:
        place, within = json.loads(base64.b64decode(cursor[:MAX_CURSOR_LENGTH], altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError, RecursionError):
        raise InvalidCursor from None
    if not all(part is None or isinstance(part, str) for part in (place, within)):
        raise InvalidCursor
    return place, within
