"""An uploaded file: its name, and whether it can be read, judged by its bytes."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import PurePath
from typing import BinaryIO

from ingestion.errors import Unreadable
from ingestion.names import safe_name
from ingestion.readers.kinds import kind_of
from server.errors import EmptyUpload, UnsupportedUpload

HEAD = 65_536
ARCHIVE_END = 1 << 20
"""Bytes at the end of an archive that must contain its directory: no document has a larger one, and a forged directory
of millions of names would exhaust memory."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A file on our disk.

    Attributes:
        file: positioned at its beginning.
        name: safe to show and to use as a file name; its suffix is the claimed type.
        content_hash: SHA-256 of its bytes, in hex.
        size: bytes.

    """

    file: BinaryIO
    name: str
    content_hash: str
    size: int


def file_name(given: str) -> str:
    """Return a name without folders and without characters that hide or reorder others."""
    return safe_name(re.split(r"[/\\]", given)[-1])


async def require_readable(file: ReceivedFile, *, plugged_in: Container[str] = ()) -> None:
    """Refuse files that no reader supports; damage further inside is found when the file is parsed.

    `plugged_in` are suffixes of files that plug-ins read, whatever their bytes.

    Raises:
        EmptyUpload: it is empty.
        UnsupportedUpload: no reader supports such bytes, or they do not match the name.

    """
    if not file.size:
        raise EmptyUpload
    if PurePath(file.name).suffix.lower() in plugged_in:
        return
    try:
        kind_of(PurePath(file.name), data=await asyncio.to_thread(_glimpse, file))
    except Unreadable as exc:
        raise UnsupportedUpload(str(exc)) from exc


def _glimpse(file: ReceivedFile) -> bytes:
    """Return enough of a file to determine its type."""
    head = file.file.read(HEAD)
    if head.startswith(b"PK"):
        file.file.seek(max(0, file.size - ARCHIVE_END))
        head = head[:4] + file.file.read(ARCHIVE_END)
    file.file.seek(0)
    return head
