"""Images as documents: PNG, JPEG, WebP, GIF, BMP and TIFF with its pages, read by OCR."""

from __future__ import annotations

import time
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import name_as_title
from ingestion.readers.ocr import engine as ocr
from ingestion.readers.ocr.frames import count_frames, frames_of
from ingestion.readers.pdf.scans import lines_of_scan, ocr_warnings, text_of_lines
from ingestion.types import Extracted, ReadOptions, ReadWarning


def read_picture_file(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read an image, each of its pages by OCR.

    Raises:
        Unreadable: it is damaged or too large, or OCR is not installed or switched off.

    """
    if not options.ocr:
        msg = "an image, and reading by OCR is switched off"
        raise Unreadable(msg)
    if not ocr.available():
        msg = f"an image; {ocr.INSTALL}"
        raise Unreadable(msg)
    texts, scores, said = _pages(data, options)
    pages, length = [], 0
    for text in texts:
        pages.append(length)
        length += len(text)
    found = (*said, *ocr_warnings({page: score for page, score in enumerate(scores, 1) if score}))
    return Extracted("".join(texts), title=name_as_title(name), pages=tuple(pages), warnings=found)


def _pages(data: bytes, options: ReadOptions) -> tuple[list[str], list[float], list[ReadWarning]]:
    texts, scores, said, end = [], [], [], time.monotonic() + options.ocr_seconds
    count = count_frames(data)
    for image in frames_of(data, limit=options.ocr_pages):
        if time.monotonic() > end:
            break
        page = ocr.read_image(image)
        texts.append(text_of_lines(lines_of_scan(page)) + "\n\n")
        scores.append(page.confidence)
    if len(texts) < count:
        detail = f"{count - len(texts)} of {count} pages were not read: the limit of OCR was reached"
        said.append(ReadWarning("pages-without-text", detail, len(texts) + 1))
    return texts, scores, said
