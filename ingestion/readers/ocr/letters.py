"""What lines of text in a picture say: PP-OCR's recognition model, decoded by CTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingestion.readers.ocr.boxes import Area

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_HEIGHT = 48  # of the model's input
_MAX_WIDTH = 3200


@dataclass(frozen=True, slots=True)
class Reading:
    """A line that was read.

    Attributes:
        places: for each character its middle, from 0 (the line's left end) to 1.
        confidence: mean probability of its characters.

    """

    text: str
    places: tuple[float, ...]
    confidence: float


def alphabet(session: Any) -> list[str]:  # noqa: ANN401 (ONNX Runtime has no types, here and below)
    """Return the model's characters by class; the first stands for none."""
    listed = session.get_modelmeta().custom_metadata_map["character"].split("\n")
    size = session.get_outputs()[0].shape[-1]
    return ["", *listed[: size - 2], *[" "] * max(1, size - 1 - len(listed[: size - 2]))]


def cut_out(image: Image, area: Area, *, upside_down: bool = False) -> Image:
    """Return the picture of a line, set straight, as high as the model wants it."""
    from PIL import Image as Pillow

    width, height = area.right - area.left, area.bottom - area.top
    shape = max(8, min(_MAX_WIDTH, round(width * _HEIGHT / height))), _HEIGHT
    x, y = area.point(area.left, area.top)
    right, below = area.point(area.right, area.top), area.point(area.left, area.bottom)
    matrix = (
        (right[0] - x) / shape[0],
        (below[0] - x) / shape[1],
        x,
        (right[1] - y) / shape[0],
        (below[1] - y) / shape[1],
        y,
    )
    cut = image.transform(shape, Pillow.Transform.AFFINE, matrix, Pillow.Resampling.BICUBIC, fillcolor=(255,) * 3)
    return cut.transpose(Pillow.Transpose.ROTATE_180) if upside_down else cut


def read_lines(session: Any, letters: Sequence[str], pictures: Sequence[Image]) -> list[Reading]:  # noqa: ANN401
    """Read pictures of lines, one by one: filling them up to one width costs more than a batch saves."""
    name = session.get_inputs()[0].name
    return [_decoded(session.run(None, {name: _input(picture)})[0][0], letters) for picture in pictures]


def _input(picture: Image) -> NDArray[np.float32]:
    pixels = np.asarray(picture, dtype=np.float32)[:, :, ::-1]  # the model knows BGR
    return np.ascontiguousarray(((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)[np.newaxis])


def _decoded(scores: NDArray[np.float32], letters: Sequence[str]) -> Reading:
    """Decode by the best path: repeated classes are one character, the first class is none."""
    best = scores.argmax(axis=1)
    kept = [step for step in range(len(best)) if best[step] and (step == 0 or best[step] != best[step - 1])]
    places = tuple(min(1.0, (step + 0.5) / len(best)) for step in kept)
    probabilities = [float(scores[step, best[step]]) for step in kept]
    spread = list(_spread([letters[best[step]] for step in kept], places))
    text = "".join(char for char, _ in spread)
    return Reading(text, tuple(place for _, place in spread), float(np.mean(probabilities)) if kept else 0.0)


def _spread(letters: Sequence[str], places: Sequence[float]) -> Iterator[tuple[str, float]]:
    """Yield single characters with their places; a class may have several."""
    for chars, place in zip(letters, places, strict=True):
        for char in chars:
            yield char, place
