"""Opens images, page by page, with bounds on what they may unpack to."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingestion.errors import Unreadable

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 100_000_000
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP")  # no others: Pillow has decoders for many odd kinds
_LARGE = (4000, 4000)


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


def count_frames(data: bytes) -> int:
    """Return how many pages an image has."""
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
