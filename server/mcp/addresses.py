"""Addresses of documents as MCP resources: ``footnote://{collection}/documents/{document_id}{?offset}``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from storage.generation import NAME_PATTERN

TEMPLATE = "footnote://{collection}/documents/{document_id}{?offset}"
LONGEST = 8192
MAX_ID_LENGTH = 512
_FORM = re.compile(rf"footnote://({NAME_PATTERN})/documents/([^/?#]+)(?:\?offset=([0-9]{{1,9}}))?")


class NoSuchAddress(ValueError):
    """The URI is not a document's address."""


@dataclass(frozen=True, slots=True)
class DocumentAddress:
    """Where a document's text is; `offset` is the first character to read."""

    collection: str
    document_id: str
    offset: int = 0

    def __str__(self) -> str:
        segment = quote(self.document_id, safe="")
        if not segment.strip("."):  # URL normalization would remove `.` and `..` as path segments
            segment = segment.replace(".", "%2E")
        return f"footnote://{self.collection}/documents/{segment}" + (f"?offset={self.offset}" if self.offset else "")


def parse_address(uri: str) -> DocumentAddress:
    """Parse a document's address; the id may hold any character, percent-encoded as UTF-8.

    Raises:
        NoSuchAddress: the URI has another form.

    """
    found = _FORM.fullmatch(uri) if len(uri) <= LONGEST else None
    if found is None:
        raise NoSuchAddress
    try:
        document_id = unquote(found[2], errors="strict")
    except UnicodeDecodeError:
        raise NoSuchAddress from None
    if len(document_id) > MAX_ID_LENGTH or "\0" in document_id:
        raise NoSuchAddress
    return DocumentAddress(found[1], document_id, offset=int(found[3] or 0))
