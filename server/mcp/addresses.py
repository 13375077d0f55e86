"""The addresses of documents as MCP resources: ``footnote://{collection}/documents/{document_id}{?offset}``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

from storage.generation import NAME_PATTERN

TEMPLATE = "footnote://{collection}/documents/{document_id}{?offset}"
LONGEST = 8192
LONGEST_ID = 512
_FORM = re.compile(rf"footnote://({NAME_PATTERN})/documents/([^/?#]+)(?:\?offset=([0-9]{{1,9}}))?")


class NoSuchAddress(ValueError):
    """It is the address of nothing that Footnote has."""


@dataclass(frozen=True, slots=True)
class DocumentAddress:
    """Where a document's text is; `offset` is the first character that is wanted."""

    collection: str
    document_id: str
    offset: int = 0

    def __str__(self) -> str:
        segment = quote(self.document_id, safe="")
        if not segment.strip("."):  # `.` and `..` are steps of a path to whoever tidies the address up
            segment = segment.replace(".", "%2E")
        return f"footnote://{self.collection}/documents/{segment}" + (f"?offset={self.offset}" if self.offset else "")


def parse_address(uri: str) -> DocumentAddress:
    """Return what a document's address says; the id may hold any character, written as UTF-8 with percent signs.

    Raises:
        NoSuchAddress: it has another form.

    """
    found = _FORM.fullmatch(uri) if len(uri) <= LONGEST else None
    if found is None:
        raise NoSuchAddress
    try:
        document_id = unquote(found[2], errors="strict")
    except UnicodeDecodeError:
        raise NoSuchAddress from None
    if len(document_id) > LONGEST_ID or "\0" in document_id:
        raise NoSuchAddress
    return DocumentAddress(found[1], document_id, offset=int(found[3] or 0))
