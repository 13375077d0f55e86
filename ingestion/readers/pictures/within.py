"""Pictures within a page, a book or a mail: read by OCR if that is asked for and there, else counted."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from urllib.parse import unquote

from ingestion.errors import Unreadable
from ingestion.readers.sections import counted
from ingestion.types import ReadOptions, ReadWarning

ICON = 1000  # bytes; smaller ones have no text: spacers, bullets, counters of visits
_SURE = 0.5  # confidence of OCR below which its text is left out


class PicturesWithin:
    """The pictures of one document, each counted and read once; bounded in number and in seconds by the options."""

    def __init__(self, options: ReadOptions) -> None:
        self.wanted = options.pictures and options.ocr
        self._left = options.ocr_pages
        self._seconds = options.ocr_seconds
        self._seen: set[bytes] = set()
        self._unread = self._elsewhere = 0
        self._missed: list[str] = []  # identifiers of parts
        self._parts: set[str] = set()
        self._by_ocr = False

    def text_of(self, name: str | bytes, data: Callable[[], bytes | None]) -> str:
        """Return what an encoded picture says; nothing if it is not read, or one of this name was before.

        `data` gives its bytes, None if they are lost; it is called only if they are to be read.
        """
        key = hashlib.blake2b(name if isinstance(name, bytes) else name.encode(), digest_size=16).digest()
        if key in self._seen:
            return ""
        self._seen.add(key)
        text = self._read(data()) if self.wanted and self._left > 0 and self._seconds > 0 else None
        self._unread += text is None
        return text or ""

    def missed(self, address: str) -> None:
        """Count a picture that is not in the file; one that an address calls a part of it may still come."""
        if address.lower().startswith("cid:"):
            self._missed.append(unquote(address[4:]).strip())
        else:
            self._elsewhere += 1

    def has_part(self, identifier: str) -> None:
        """Note the identifier of a part (RFC 2392), which whoever has the part reads or says that it is not read."""
        self._parts.add(identifier.strip().strip("<>").strip())

    def said(self) -> list[ReadWarning]:
        """Return how many were not read, and that OCR makes mistakes. Those elsewhere count if pictures are wanted."""
        said = []
        if self._unread:
            what = counted(self._unread, "picture is", "pictures are")
            said.append(ReadWarning("picture-not-read", f"{what} not read; alternative texts are kept."))
        elsewhere = self._elsewhere + sum(each not in self._parts for each in self._missed)
        if elsewhere and self.wanted:
            what = counted(elsewhere, "picture is", "pictures are")
            detail = f"{what} not in the file, which only refers to them, and not read; alternative texts are kept."
            said.append(ReadWarning("picture-not-read", detail))
        if self._by_ocr:
            said.append(ReadWarning("read-by-ocr", "Text in pictures is read by OCR, which makes mistakes."))
        return said

    def _read(self, data: bytes | None) -> str | None:
        from ingestion.readers.pictures.text import read_picture

        if data is None or len(data) < ICON:
            return None if data is None else ""
        began = time.monotonic()
        self._left -= 1
        try:
            text, confidence = read_picture(data)
        except (Unreadable, ImportError):
            return None
        finally:
            self._seconds -= time.monotonic() - began
        if not text.strip() or confidence < _SURE:
            return ""
        self._by_ocr = True
        return text
