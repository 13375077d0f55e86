"""What a page draws besides text: pictures, coloured areas, and the straight lines that tables are ruled with."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from ingestion.readers.pdf.frames import Box, Frame

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

_MAX_OBJECTS = 20_000  # of a page; maps and drawings have more, and no tables
_MAX_EDGES = 4000
_MAX_SEGMENTS = 400  # of a path
_MAX_DEPTH = 4
_THIN = 3.0  # points: a longer area as thin as that is a line
_SHORT = 4.0
_STRAIGHT = 0.6
_RECTANGLE = (4, 5)  # segments
_WHITE = 250


class Edge(NamedTuple):
    """A straight line along an axis, at `at` of the other."""

    at: float
    start: float
    end: float


class Matrix(NamedTuple):
    """PDF's ``[a b c d e f]``."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def point(self, x: float, y: float) -> tuple[float, float]:
        """Transform a point."""
        return self.a * x + self.c * y + self.e, self.b * x + self.d * y + self.f

    def after(self, first: Matrix) -> Matrix:
        """Return the transformation by `first` and then this."""
        a, b = self.a * first.a + self.c * first.b, self.b * first.a + self.d * first.b
        c, d = self.a * first.c + self.c * first.d, self.b * first.c + self.d * first.d
        return Matrix(a, b, c, d, *self.point(first.e, first.f))


_IDENTITY = Matrix(1, 0, 0, 1, 0, 0)


@dataclass(slots=True)
class Shapes:
    """What a page draws, in its own frame."""

    pictures: list[Box] = field(default_factory=list)
    areas: list[Box] = field(default_factory=list)
    across: list[Edge] = field(default_factory=list)
    down: list[Edge] = field(default_factory=list)
    paths: int = 0

    def below(self, box: Box) -> bool:
        """Tell whether something is drawn on which white text can be read."""
        return any(area.holds(box.middle) for area in (*self.areas, *self.pictures))

    def picture_below(self, box: Box) -> bool:
        """Tell whether a picture is drawn there."""
        return any(picture.holds(box.middle) for picture in self.pictures)

    def turned(self, own: Frame, frame: Frame) -> tuple[list[Edge], list[Edge]]:
        """Return the lines across and down, as they are in another frame of the page."""
        across, down = self.across, self.down
        width, height = own.size
        for _ in range((frame.turn - own.turn) % 4):
            across, down = (
                [Edge(edge.at, height - edge.end, height - edge.start) for edge in down],
                [Edge(height - edge.at, edge.start, edge.end) for edge in across],
            )
            width, height = height, width
        return across, down


def shapes_of(page: PdfPage, frame: Frame) -> Shapes:
    """Collect what a page draws."""
    collector = _Collector(frame)
    collector.collect(page.raw)
    return collector.shapes


class _Collector:
    def __init__(self, frame: Frame) -> None:
        import pypdfium2.raw as pdfium

        self.shapes = Shapes()
        self._pdfium: Any = pdfium
        self._frame = frame
        self._left = _MAX_OBJECTS
        self._corners = tuple(ctypes.c_float() for _ in range(4))
        self._pointers = tuple(ctypes.byref(corner) for corner in self._corners)

    def collect(self, page: Any) -> None:  # noqa: ANN401 (pointers of ctypes, here and below)
        pdfium = self._pdfium
        self._walk((pdfium.FPDFPage_GetObject(page, n) for n in range(self._count(page))), _IDENTITY, 0)

    def _count(self, page: Any) -> int:  # noqa: ANN401
        return min(int(self._pdfium.FPDFPage_CountObjects(page)), _MAX_OBJECTS)

    def _walk(self, objects: Iterator[Any], matrix: Matrix, depth: int) -> None:
        pdfium = self._pdfium
        for item in objects:
            self._left -= 1
            if self._left < 0:
                return
            kind = pdfium.FPDFPageObj_GetType(item)
            if kind == pdfium.FPDF_PAGEOBJ_PATH:
                self._path(item, matrix)
            elif kind == pdfium.FPDF_PAGEOBJ_IMAGE:
                self.shapes.pictures.append(self._bounds(item, matrix))
            elif kind == pdfium.FPDF_PAGEOBJ_SHADING:
                self.shapes.areas.append(self._bounds(item, matrix))
            elif kind == pdfium.FPDF_PAGEOBJ_FORM and depth < _MAX_DEPTH:
                self._walk(self._parts(item), matrix.after(self._matrix(item)), depth + 1)

    def _parts(self, form: Any) -> Iterator[Any]:  # noqa: ANN401
        count = min(self._pdfium.FPDFFormObj_CountObjects(form), _MAX_OBJECTS)
        return (self._pdfium.FPDFFormObj_GetObject(form, index) for index in range(count))

    def _matrix(self, item: Any) -> Matrix:  # noqa: ANN401
        found = self._pdfium.FS_MATRIX()
        if not self._pdfium.FPDFPageObj_GetMatrix(item, found):
            return _IDENTITY
        return Matrix(found.a, found.b, found.c, found.d, found.e, found.f)

    def _bounds(self, item: Any, matrix: Matrix) -> Box:  # noqa: ANN401
        for corner in self._corners:
            corner.value = 0
        self._pdfium.FPDFPageObj_GetBounds(item, *self._pointers)
        left, bottom, right, top = (corner.value for corner in self._corners)
        points = [matrix.point(x, y) for x in (left, right) for y in (bottom, top)]
        xs, ys = [point[0] for point in points], [point[1] for point in points]
        return self._frame.box(min(xs), min(ys), max(xs), max(ys))

    def _path(self, item: Any, matrix: Matrix) -> None:  # noqa: ANN401
        pdfium, shapes = self._pdfium, self.shapes
        fill, stroke = ctypes.c_int(), ctypes.c_int()
        pdfium.FPDFPath_GetDrawMode(item, fill, stroke)
        if not fill.value and not stroke.value:
            return
        shapes.paths += 1
        box = self._bounds(item, matrix)
        if fill.value and self._is_coloured(item):
            shapes.areas.append(box)
        if len(shapes.across) + len(shapes.down) < _MAX_EDGES:
            self._edges(item, box, matrix)

    def _is_coloured(self, item: Any) -> bool:  # noqa: ANN401
        red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
        found = self._pdfium.FPDFPageObj_GetFillColor(item, red, green, blue, alpha)
        return not found or min(red.value, green.value, blue.value) < _WHITE

    def _edges(self, item: Any, box: Box, matrix: Matrix) -> None:  # noqa: ANN401
        across, down = self.shapes.across, self.shapes.down
        if box.height <= _THIN:
            if box.width > _SHORT:
                across.append(Edge(box.middle[1], box.left, box.right))
        elif box.width <= _THIN:
            if box.height > _SHORT:
                down.append(Edge(box.middle[0], box.top, box.bottom))
        elif (count := self._pdfium.FPDFPath_CountSegments(item)) in _RECTANGLE:
            across += [Edge(box.top, box.left, box.right), Edge(box.bottom, box.left, box.right)]
            down += [Edge(box.left, box.top, box.bottom), Edge(box.right, box.top, box.bottom)]
        elif 0 < count <= _MAX_SEGMENTS:
            self._segments(item, count, matrix.after(self._matrix(item)))

    def _segments(self, item: Any, count: int, matrix: Matrix) -> None:  # noqa: ANN401
        pdfium = self._pdfium
        x, y = ctypes.c_float(), ctypes.c_float()
        before: tuple[float, float] | None = None
        for index in range(count):
            segment = pdfium.FPDFPath_GetPathSegment(item, index)
            kind = pdfium.FPDFPathSegment_GetType(segment)
            pdfium.FPDFPathSegment_GetPoint(segment, x, y)
            point = matrix.point(x.value, y.value)
            if before is not None and kind == pdfium.FPDF_SEGMENT_LINETO:
                self._line(before, point)
            before = point

    def _line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        (x0, y0), (x1, y1) = start, end
        box = self._frame.box(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1))
        if box.height <= _STRAIGHT and box.width > _SHORT:
            self.shapes.across.append(Edge(box.middle[1], box.left, box.right))
        elif box.width <= _STRAIGHT and box.height > _SHORT:
            self.shapes.down.append(Edge(box.middle[0], box.top, box.bottom))
