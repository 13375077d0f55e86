"""Draws a page with a passage marked."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeAlias

from cachetools import LRUCache

from ingestion.readers.drawing.marks import Layout, Rectangle, rectangles
from ingestion.readers.drawing.sheets import Sheet, sheet
from ingestion.readers.drawing.view import View

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_WORDS = 50_000  # whose places are kept, some 40 MB
_YELLOW = (255, 214, 0, 96)
Key: TypeAlias = "tuple[bytes, int, bool, bool]"


class Layouts:
    """The latest layouts, so that OCR reads a page once however many of its passages are shown."""

    def __init__(self, *, words: int = MAX_WORDS) -> None:
        self._kept: LRUCache[Key, Layout] = LRUCache(words, getsizeof=lambda layout: layout.words + 1)

    def of(self, opened: Sheet, data: bytes, view: View) -> Layout:
        """Return the layout of an open page."""
        key = (hashlib.sha256(data).digest(), view.page, view.options.ocr, view.options.pictures)
        layout = self._kept.get(key)
        if layout is None:
            layout = opened.layout(view.options)
            if layout.words < self._kept.maxsize:
                self._kept[key] = layout
        return layout


def draw_page(data: bytes, view: View, layouts: Layouts | None = None) -> bytes:
    """Draw a page of a PDF or of a picture as PNG, with what is to be marked in yellow.

    Raises:
        Unreadable: it is of another kind, is damaged, or has no such page.

    """
    with sheet(PurePath(view.name), data, view.page) as opened:
        picture = opened.picture(view.width)
        if view.is_marked:
            picture = _marked(picture, _rectangles(opened, data, view, layouts or Layouts()))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def page_rectangles(data: bytes, view: View) -> list[Rectangle]:
    """Return where what is to be marked stands on the page, one rectangle for each line.

    Raises:
        Unreadable: as `draw_page`.

    """
    with sheet(PurePath(view.name), data, view.page) as opened:
        return _rectangles(opened, data, view, Layouts())


def _rectangles(opened: Sheet, data: bytes, view: View, layouts: Layouts) -> list[Rectangle]:
    layout = layouts.of(opened, data, view)
    with opened.characters() as characters:
        return rectangles(layout, view.text, view.start, view.end, characters)


def _marked(picture: Image, places: Iterable[Rectangle]) -> Image:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    layer = Pillow.new("RGBA", picture.size)
    brush = ImageDraw.Draw(layer)
    for left, top, right, bottom in places:
        brush.rectangle(
            (left * picture.width, top * picture.height, right * picture.width, bottom * picture.height), fill=_YELLOW
        )
    return Pillow.alpha_composite(picture.convert("RGBA"), layer).convert("RGB")
