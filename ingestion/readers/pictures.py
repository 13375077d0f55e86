"""Images as documents: PNG, JPEG, WebP, GIF, BMP and TIFF with its pages, read by OCR."""

from __future__ import annotations

import io
import time
import warnings
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from ingestion.errors import Unreadable
from ingestion.readers import ocr
from ingestion.readers.cleaning import name_as_title
from ingestion.readers.scans import lines_of_scan, ocr_warnings, text_of_lines
from ingestion.types import Extracted, ReadOptions, ReadWarning

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")  # no others: Pillow has decoders for many odd kinds
_LARGE = (4000, 4000)


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
    count = _count(data)
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


def frames_of(data: bytes, *, limit: int) -> Iterator[Image]:
    """Yield the pages of an encoded image, upright as its camera says, none of them larger than needed.

    Raises:
        Unreadable: it is damaged or too large.

    """
    from PIL import Image as Pillow
    from PIL import ImageOps

    image = _opened(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of doubtful metadata
        for index in range(min(limit, _frames(image))):
            try:
                image.seek(index)
                _check_size(image)
                image.draft("RGB", _LARGE)
                yield ImageOps.exif_transpose(image)
            except (
                OSError,
                ValueError,
                SyntaxError,
                EOFError,
                Pillow.DecompressionBombError,
                TypeError,
                KeyError,
            ) as exc:
                if index == 0:
                    msg = "a damaged image"
                    raise Unreadable(msg) from exc
                return


def _count(data: bytes) -> int:
    return _frames(_opened(data))


def _frames(image: Image) -> int:
    if image.format != "TIFF":
        return 1  # of moving pictures the first is read
    try:
        return int(getattr(image, "n_frames", 1))
    except (OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError):
        return 1


def _opened(data: bytes) -> Image:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Pillow.open(io.BytesIO(data), formats=_FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, KeyError) as exc:
        msg = "a damaged image, or one of a kind that is not read"
        raise Unreadable(msg) from exc
    except Pillow.DecompressionBombError as exc:
        raise Unreadable(_too_large()) from exc
    _check_size(image)
    return image


def _check_size(image: Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(_too_large())


def _too_large() -> str:
    return f"an image of more than {MAX_PIXELS // 1_000_000} million pixels"
