"""Where lines of text are in a picture: PP-OCR's detection model, and boxes around what it marks.

The model is DB, a network of differentiable binarization (Liao et al. 2020, arXiv:1911.08947): it gives each pixel a
probability of being in the core of a line. Boxes around the cores are widened as in the paper. Unlike RapidOCR this
needs neither OpenCV nor Shapely, which would take six times the space of the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_CORE = 0.3  # probability from which a pixel is in the core of a line
_SURE = 0.5  # mean probability of a line's core
_UNCLIP = 1.6  # the paper's ratio: how far a core is widened
_MIN_SIDE = 3.0  # pixels of a core
_MAX_RUNS = 150_000  # more is noise
_MAX_LINES = 1000
_MULTIPLE = 32  # the network halves its input five times
_LONG = 3.0  # width by height of a core whose direction can be trusted
_MAX_SKEW = 0.35  # radians


@dataclass(frozen=True, slots=True)
class Area:
    """A line of text: a rectangle that is turned by the page's `skew` around the picture's origin.

    Attributes:
        left: with `top`, `right` and `bottom` in pixels of the picture, after turning it back by `skew`.
        skew: radians, clockwise as seen.

    """

    left: float
    top: float
    right: float
    bottom: float
    skew: float

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point of the straightened picture is in the picture."""
        cos, sin = np.cos(self.skew), np.sin(self.skew)
        return float(x * cos - y * sin), float(x * sin + y * cos)


def find_areas(session: Any, image: Image, *, side: int) -> list[Area]:  # noqa: ANN401 (ONNX Runtime has no types)
    """Find lines of text in an RGB picture, which is made smaller until its longer side has `side` pixels."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(_MULTIPLE, round(length * scale / _MULTIPLE) * _MULTIPLE) for length in image.size)
    pixels = np.asarray(image.resize((width, height)), dtype=np.float32)[:, :, ::-1]  # the model knows BGR
    batch = ((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)[np.newaxis]
    probability = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(batch)})[0][0, 0]
    return _areas(probability, image.width / width, image.height / height)


def _areas(probability: NDArray[np.float32], x_scale: float, y_scale: float) -> list[Area]:
    mask = probability > _CORE
    mask[:, 1:] |= mask[:, :-1].copy()  # dilated by a pixel, as the model's authors do
    mask[1:] |= mask[:-1].copy()
    rows, starts, ends = _runs(mask)
    if not 0 < len(rows) <= _MAX_RUNS:
        return []
    labels = _labels(rows, starts, ends)
    sums = np.concatenate([np.zeros((len(probability), 1)), np.cumsum(probability, axis=1)], axis=1)
    weight = sums[rows, ends] - sums[rows, starts]
    pixels = np.bincount(labels, ends - starts)
    sure = np.bincount(labels, weight) / pixels >= _SURE
    x0, x1, y = starts * x_scale, ends * x_scale, (rows + 0.5) * y_scale
    skew = _skew(labels, x0, x1, y)
    cos, sin = np.cos(skew), np.sin(skew)
    left, right = _extents(labels, x0 * cos + y * sin, x1 * cos + y * sin)
    top, bottom = _extents(
        labels, np.minimum(-x0 * sin, -x1 * sin) + y * cos, np.maximum(-x0 * sin, -x1 * sin) + y * cos
    )
    top, bottom = top - y_scale / 2, bottom + y_scale / 2
    wide, tall = right - left, bottom - top
    kept = np.flatnonzero(sure & (np.minimum(wide / x_scale, tall / y_scale) >= _MIN_SIDE))[:_MAX_LINES]
    by = _UNCLIP * wide * tall / (2 * (wide + tall))
    return [
        Area(float(left[n] - by[n]), float(top[n] - by[n]), float(right[n] + by[n]), float(bottom[n] + by[n]), skew)
        for n in kept
    ]


def _runs(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return row, start and end of each horizontal run of a mask."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), dtype=np.int8)
    padded[:, 1:-1] = mask
    change = np.diff(padded, axis=1)
    rows, starts = np.nonzero(change == 1)
    return rows, starts, np.nonzero(change == -1)[1]


def _labels(rows: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the connected areas that runs make; return the number of each run's."""
    parent = list(range(len(rows)))

    def root(run: int) -> int:
        while parent[run] != run:
            parent[run] = parent[parent[run]]
            run = parent[run]
        return run

    row_of, start_of, end_of = rows.tolist(), starts.tolist(), ends.tolist()
    above = 0
    for run, row in enumerate(row_of):
        while row_of[above] < row - 1 or (row_of[above] == row - 1 and end_of[above] < start_of[run]):
            above += 1
        other = above
        while row_of[other] == row - 1 and start_of[other] <= end_of[run]:
            one, two = sorted((root(run), root(other)))
            parent[two] = one
            other += 1
    return np.unique([root(run) for run in range(len(parent))], return_inverse=True)[1]


def _extents(
    labels: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    count = labels.max() + 1
    smallest, largest = np.full(count, np.inf), np.full(count, -np.inf)
    np.minimum.at(smallest, labels, np.minimum(low, high))
    np.maximum.at(largest, labels, np.maximum(low, high))
    return smallest, largest


def _skew(
    labels: NDArray[np.int64], x0: NDArray[np.floating], x1: NDArray[np.floating], y: NDArray[np.floating]
) -> float:
    """Return the direction of the lines, the median by length of the main axes of their cores."""
    weight = x1 - x0
    mean_x, total = (x0 + x1) / 2, np.bincount(labels, weight)
    x, v = np.bincount(labels, weight * mean_x) / total, np.bincount(labels, weight * y) / total
    xx = np.bincount(labels, weight * (mean_x**2 + weight**2 / 12)) / total - x**2
    yy = np.bincount(labels, weight * y**2) / total - v**2
    xy = np.bincount(labels, weight * mean_x * y) / total - x * v
    angle = np.arctan2(2 * xy, xx - yy) / 2
    long = (xx > _LONG**2 * yy) & (np.abs(angle) < _MAX_SKEW)
    if not long.any():
        return 0.0
    order = np.argsort(angle[long])
    lengths = np.cumsum(np.sqrt(xx[long][order]))
    return float(angle[long][order][np.searchsorted(lengths, lengths[-1] / 2)])
