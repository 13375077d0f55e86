"""Text of a picture within a document, for the readers of formats that have pictures."""

from __future__ import annotations

from ingestion.readers.ocr.engine import INSTALL, available, read_image
from ingestion.readers.ocr.frames import frames_of
from ingestion.readers.pdf.scans import lines_of_scan, text_of_lines

__all__ = ["INSTALL", "available", "read_picture"]


def read_picture(data: bytes) -> tuple[str, float]:
    """Return the text of an encoded picture in reading order, and the mean confidence, from 0 to 1.

    Raises:
        Unreadable: the extra `ocr` is not installed, or the picture is damaged, too large or of another kind.

    """
    page = read_image(next(frames_of(data, limit=1)))
    return text_of_lines(lines_of_scan(page)), page.confidence
