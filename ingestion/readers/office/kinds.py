"""Tells old Office files and OpenDocument files apart by their bytes."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from typing import Literal

from ingestion.errors import Unreadable

COMPOUND = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How compound files (MS-CFB) begin: Office files before 2007, encrypted ones of today, Outlook's messages."""

OpenDocumentKind = Literal["odt", "ods", "odp"]
_TYPE = b"application/vnd.oasis.opendocument."
_TYPES: tuple[tuple[bytes, OpenDocumentKind], ...] = (
    (b"text", "odt"),
    (b"spreadsheet", "ods"),
    (b"presentation", "odp"),
)
_STREAMS = (
    ("EncryptedPackage", "an encrypted Office file; remove its password first"),
    ("WordDocument", "an old Word file; save it as .docx"),
    ("PowerPoint Document", "an old PowerPoint file; save it as .pptx"),
    ("__substg1.0_", "an Outlook message; save it as .eml"),
)


def kind_of_compound(data: bytes) -> Literal["xls"]:
    """Return the kind of a compound file by the names of its streams.

    Raises:
        Unreadable: no reader supports it; the message names it for what it is.

    """
    for name, reason in _STREAMS:
        if name.encode("utf-16-le") in data:
            raise Unreadable(reason)
    if any(name.encode("utf-16-le") in data for name in ("Workbook", "Book")):
        return "xls"
    msg = "an old Office file; save it as .docx, .pptx or .xlsx"
    raise Unreadable(msg)


def kind_of_opendocument(archive: zipfile.ZipFile, names: Sequence[str]) -> OpenDocumentKind | None:
    """Return the kind of an OpenDocument file by its first entry; None if it is none."""
    if "mimetype" not in names or "content.xml" not in names or archive.getinfo("mimetype").file_size > 100:  # noqa: PLR2004
        return None
    told = archive.read("mimetype").strip()
    family = told.removeprefix(_TYPE).removesuffix(b"-template")
    return next((kind for name, kind in _TYPES if told.startswith(_TYPE) and family == name), None)
