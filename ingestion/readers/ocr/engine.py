"""Optical character recognition: PP-OCRv6's small models, which the package RapidOCR brings, on ONNX Runtime.

Only the models are used. The package is the extra ``ocr``; without it `available` is False.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingestion.errors import Unreadable

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL = "install Footnote's extra `ocr` to read it: pip install 'footnote-server[ocr]'"
LOW_CONFIDENCE = 0.8
_SIDE = 1440  # pixels of the longer side in which lines are looked for
_MAX_SIDE = 4000  # of which lines are cut out
_READ = 0.5  # confidence of a line that is text
_THREADS = 4
_UPRIGHT_SAMPLE = 6  # lines that decide which side is up
_DOUBTFUL = 0.9  # confidence below which a page may stand on its head
_TALL = 1.5


@dataclass(frozen=True, slots=True)
class OcrWord:
    """A word that was read.

    Attributes:
        box: left, top, right, bottom as fractions of the picture, in which lines were set straight.
        shown: the same in the picture as it is.

    """

    text: str
    box: tuple[float, float, float, float]
    shown: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class OcrPage:
    """What was read of a picture.

    Attributes:
        confidence: mean of its characters; 0 if nothing was read.
        size: width and height of the upright picture in pixels.
        turned: quarter turns clockwise that set the picture upright; the boxes are of the upright picture.

    """

    words: tuple[OcrWord, ...]
    confidence: float
    size: tuple[int, int]
    turned: int = 0


@dataclass(frozen=True, slots=True)
class _Models:
    detection: Any
    recognition: Any
    letters: list[str]


@lru_cache(maxsize=1)
def available() -> bool:
    """Tell whether the extra is installed."""
    return _folder() is not None


def read_image(image: Image) -> OcrPage:
    """Read an open picture of any mode; large ones are made smaller first.

    Raises:
        Unreadable: the extra is not installed.

    """
    from ingestion.readers.ocr.boxes import find_areas

    models = _models()
    picture = _rgb(image)
    areas = find_areas(models.detection, picture, side=_SIDE)
    turned = 0
    if sum(_is_upright(area) for area in areas) * 2 < len(areas):
        picture, turned = _turned(picture, 1), 1
        areas = find_areas(models.detection, picture, side=_SIDE)
    page = _page(models, picture, areas, turned)
    if areas and page.confidence < _DOUBTFUL and _is_upside_down(models, picture, areas):
        picture, turned = _turned(picture, 2), turned + 2
        page = _page(models, picture, find_areas(models.detection, picture, side=_SIDE), turned)
    return page


def _page(models: _Models, picture: Image, areas: list[Any], turned: int) -> OcrPage:
    from ingestion.readers.ocr.letters import cut_out, read_lines

    readings = read_lines(models.recognition, models.letters, [cut_out(picture, area) for area in areas])
    words: list[OcrWord] = []
    total = weight = 0.0
    for area, reading in zip(areas, readings, strict=True):
        if reading.confidence >= _READ and reading.text.strip():
            words += _words(area, reading, picture.size)
            total += reading.confidence * len(reading.text)
            weight += len(reading.text)
    return OcrPage(tuple(words), total / weight if weight else 0.0, picture.size, turned)


def _words(area: Any, reading: Any, size: tuple[int, int]) -> list[OcrWord]:  # noqa: ANN401
    """Split a line into words; a word ends half-way to the next."""
    words, start = [], 0
    places = reading.places
    for end in range(len(reading.text) + 1):
        if end < len(reading.text) and not reading.text[end].isspace():
            continue
        if end > start:
            first = 0.0 if start == 0 else (places[start - 1] + places[start]) / 2
            last = 1.0 if end == len(reading.text) else (places[end - 1] + places[end]) / 2
            words.append(_word(area, reading.text[start:end], (first, last), size))
        start = end + 1
    return words


def _word(area: Any, text: str, part: tuple[float, float], size: tuple[int, int]) -> OcrWord:  # noqa: ANN401
    width, height = size
    span = area.right - area.left
    left, right = area.left + part[0] * span, area.left + part[1] * span
    x, y = area.point((left + right) / 2, (area.top + area.bottom) / 2)
    wide, tall = (right - left) / 2, (area.bottom - area.top) / 2
    return OcrWord(
        text,
        (left / width, area.top / height, right / width, area.bottom / height),
        ((x - wide) / width, (y - tall) / height, (x + wide) / width, (y + tall) / height),
    )


def _is_upright(area: Any) -> bool:  # noqa: ANN401
    return bool((area.bottom - area.top) < _TALL * (area.right - area.left))


def _is_upside_down(models: _Models, picture: Image, areas: list[Any]) -> bool:
    """Tell whether the longest lines read better the other way round."""
    from ingestion.readers.ocr.letters import cut_out, read_lines

    longest = sorted(areas, key=lambda area: area.left - area.right)[:_UPRIGHT_SAMPLE]
    upright, turned = (
        sum(
            reading.confidence
            for reading in read_lines(
                models.recognition, models.letters, [cut_out(picture, area, upside_down=flag) for area in longest]
            )
        )
        for flag in (False, True)
    )
    return turned > upright + 0.1 * len(longest)


def _turned(image: Image, quarters: int) -> Image:
    from PIL import Image as Pillow

    return image.transpose((Pillow.Transpose.ROTATE_270, Pillow.Transpose.ROTATE_180)[quarters - 1])


def _rgb(image: Image) -> Image:
    """Return a picture in colours on white, made smaller if it is very large."""
    from PIL import Image as Pillow

    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Pillow.alpha_composite(Pillow.new("RGBA", clear.size, "white"), clear)
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    return image.convert("RGB")


def _folder() -> Path | None:
    spec = find_spec("rapidocr")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (folder := Path(place) / "models").is_dir():
            return folder
    return None


@lru_cache(maxsize=1)
def _models() -> _Models:
    from ingestion.readers.ocr.letters import alphabet

    folder = _folder()
    detection, recognition = _model(folder, "det"), _model(folder, "rec")
    return _Models(detection, recognition, alphabet(recognition))


def _model(folder: Path | None, kind: str) -> Any:  # noqa: ANN401
    """Open the newest model of a kind that the package brings."""
    import onnxruntime

    found = sorted(folder.glob(f"*_{kind}_*.onnx")) if folder else []
    if not found:
        msg = f"there is no OCR: {INSTALL}"
        raise Unreadable(msg)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, min(_THREADS, os.cpu_count() or 1))
    options.enable_cpu_mem_arena = False  # pages differ in size: an arena keeps the largest of each
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others want the cores, too
    return onnxruntime.InferenceSession(str(found[-1]), options, providers=["CPUExecutionProvider"])
