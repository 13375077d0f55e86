"""The words of a page with their places, as PDFium finds them; invisible ones are sorted out."""

from __future__ import annotations

import ctypes
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ingestion.readers.cleaning import clean
from ingestion.readers.pdf.codes import LOST, decoded
from ingestion.readers.pdf.dividing import Part, Style, divided
from ingestion.readers.pdf.frames import Box, Frame
from ingestion.readers.pdf.shapes import Shapes

if TYPE_CHECKING:
    from pypdfium2 import PdfTextPage

_HYPHEN = "\ufffe"  # what PDFium has in the place of a hyphen at a line's end, without the line's end
_WORD = re.compile(rf"[^\s\x00-\x1f{_HYPHEN}]+{_HYPHEN}?|{_HYPHEN}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_INVISIBLE_MODES = {3, 7}  # Tr operator: neither filled nor stroked
_WHITE = 250
_LONGEST_DIVIDED = 80  # characters
_TINY = 1.0  # points
_QUARTER = math.pi / 2
_SKEW = 0.15  # radians


@dataclass(slots=True)
class Word:
    """Characters without white space between them.

    Attributes:
        text: cleaned, ligatures expanded, NFC.
        raw: as PDFium gives it, a character for each of its indexes.
        first: PDFium's index of the first character; -1 if it is not from the page's text.
        box: in the frame of its `turn`, in points: from the font's top to its bottom.
        turn: quarter turns clockwise that set it upright.
        skewed: it is upright in no frame.
        shown: its box where that differs, as in a scan that was set straight.
        glued: no blank comes before it: an exponent, an index.

    """

    text: str
    raw: str
    first: int
    box: Box
    turn: int = 0
    skewed: bool = False
    shown: Box | None = None
    glued: bool = False


@dataclass(slots=True)
class PageWords:
    """The words of a page, in PDFium's order, and how many were left out, or were put over a picture by OCR.

    `lost` counts characters whose font does not say what they are.
    """

    words: list[Word] = field(default_factory=list)
    hidden: int = 0
    outside: int = 0
    lost: int = 0
    recognised: int = 0


def words_of(textpage: PdfTextPage, frame: Frame, shapes: Shapes) -> PageWords:
    """Return the visible words. Invisible text over a picture is what OCR has read there, and counts as visible."""
    page = PageWords()
    unseen: list[Word] = []
    white: list[Word] = []
    for word, style in _Words(textpage, frame, shapes):
        here = style.frame
        if _is_outside(word.box, here):
            page.outside += 1
        elif word.box.bottom - word.box.top < _TINY:
            page.hidden += 1
        elif style.white and not shapes.below(frame.seen_from(here, word.box)):
            white.append(word)
        elif style.invisible and not shapes.picture_below(frame.seen_from(here, word.box)):
            unseen.append(word)
        else:
            page.words.append(word)
            page.recognised += style.invisible
            page.lost += word.text.count(LOST)
    _sort_out(page, white, unseen)
    return page


def _sort_out(page: PageWords, white: list[Word], unseen: list[Word]) -> None:
    """Decide about white and invisible words when all others are known."""
    on_signs = [word for word in white if any(other.box.holds(word.box.middle) for other in page.words)]
    page.hidden += len(white) - len(on_signs)
    if page.words or on_signs:
        page.hidden += len(unseen)
    else:
        page.words = unseen  # of a page that has no other text: outlines are drawn, with their text behind
    if on_signs:  # white numbers on dark circles, which are characters, too
        page.words = sorted([*page.words, *on_signs], key=lambda word: word.first)


def _is_outside(box: Box, frame: Frame) -> bool:
    """Tell whether no part of a word is on the page."""
    left, top, right, bottom = box
    width, height = frame.size
    return right < 0 or bottom < 0 or left > width or top > height


def cleaned(raw: str) -> str:
    """Return a word's characters as they are indexed."""
    if raw.isascii() and raw.isprintable():
        return raw
    if _SURROGATE.search(raw):  # PDFium has two indexes for a character beyond U+FFFF
        raw = raw.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return clean(raw.translate(_LIGATURES))


def origins(raw: str) -> list[int]:
    """Return for each character of ``cleaned(raw)`` the index in `raw` of the one it came from."""
    text, found = cleaned(raw), list[int]()
    if len(text) == len(raw):
        return list(range(len(raw)))
    for end in range(1, len(raw) + 1):  # what a longer beginning adds came from its last character
        found += [end - 1] * (len(cleaned(raw[:end])) - len(found))
    return (found + [len(raw) - 1] * len(text))[: len(text)]


class _Words:
    """Iterates over the words of a text page with three calls of PDFium each."""

    def __init__(self, textpage: PdfTextPage, frame: Frame, shapes: Shapes) -> None:
        import pypdfium2.raw as pdfium

        self._pdfium: Any = pdfium
        self._page = textpage.raw
        self._frames = [frame.turned(turn) for turn in range(4)]
        self._rules = [shapes.turned(frame, turned)[1] if shapes.down else [] for turned in self._frames]
        self._styles: dict[int | None, Style] = {}
        self._corners = tuple(ctypes.c_double() for _ in range(4))
        self._pointers = tuple(ctypes.byref(corner) for corner in self._corners)
        self._loose = pdfium.FS_RECTF()
        self._text = decoded(self._marked(_text_by_index(textpage, pdfium)))

    def __iter__(self) -> Iterator[tuple[Word, Style]]:
        for match in _WORD.finditer(self._text):
            raw = match.group().replace(_HYPHEN, "-")
            text = cleaned(raw)
            if text:
                style = self._style(match.start())
                box, parts = self._box(match.start(), len(raw), style)
                if parts > 1 and len(raw) <= _LONGEST_DIVIDED:
                    yield from self._divided(match.start(), raw)
                else:
                    yield Word(text, raw, match.start(), box, style.frame.turn, style.skewed), style

    def _marked(self, text: str) -> str:
        """Tell hyphens at line ends from characters without a Unicode value."""
        if _HYPHEN not in text:
            return text
        places = [match.start() for match in re.finditer(_HYPHEN, text)]
        lost = {place for place in places if self._pdfium.FPDFText_IsHyphen(self._page, place) != 1}
        return "".join(LOST if place in lost else char for place, char in enumerate(text)) if lost else text

    def _divided(self, start: int, raw: str) -> Iterator[tuple[Word, Style]]:
        """Divide a word that several operators show where it has an exponent or index, or at a ruled line."""
        for part in divided(self._shown_parts(start, raw), self._rules):
            text = part.mark + cleaned(part.raw)
            if text:
                style = part.style
                box = self._box(part.first, len(part.raw), style)[0]
                yield Word(text, part.raw, part.first, box, style.frame.turn, style.skewed, glued=part.glued), style

    def _shown_parts(self, start: int, raw: str) -> list[Part]:
        """Return the characters that each operator shows, with their box."""
        parts: list[Part] = []
        for index, char in enumerate(raw, start):
            style = self._style(index)
            if parts and parts[-1].style is style:
                parts[-1].raw += char
            else:
                parts.append(Part(char, index, style, self._loose_box(index, style.frame)))
        for part in parts:
            end = self._loose_box(part.first + len(part.raw) - 1, part.style.frame)
            part.box = part.box.with_box(end)
        return parts

    def _box(self, start: int, length: int, style: Style) -> tuple[Box, int]:
        """Return the box of characters, along the line theirs, across it the font's; and of how many parts it is."""
        get_rect, (left, top, right, bottom) = self._pdfium.FPDFText_GetRect, self._corners
        count = self._pdfium.FPDFText_CountRects(self._page, start, length)
        box: Box | None = None
        for index in range(min(count, 32)):
            get_rect(self._page, index, *self._pointers)
            part = style.frame.box(left.value, bottom.value, right.value, top.value)
            box = part if box is None else box.with_box(part)
        if box is None:
            return self._loose_box(start, style.frame), 1
        tall = Box(box.left, style.across[0], box.right, style.across[1]) if style.across else box
        return tall, count

    def _loose_box(self, index: int, frame: Frame) -> Box:
        loose = self._loose
        self._pdfium.FPDFText_GetLooseCharBox(self._page, index, loose)
        return frame.box(loose.left, loose.bottom, loose.right, loose.top)

    def _style(self, index: int) -> Style:
        text_object = self._pdfium.FPDFText_GetTextObject(self._page, index)
        key = ctypes.cast(text_object, ctypes.c_void_p).value
        style = self._styles.get(key)
        if style is None:
            style = self._styles[key] = self._new_style(text_object if key else None, index)
        return style

    def _new_style(self, text_object: Any, index: int) -> Style:  # noqa: ANN401 (a pointer of ctypes)
        quarters = -self._pdfium.FPDFText_GetCharAngle(self._page, index) / _QUARTER
        skewed = abs(quarters - round(quarters)) * _QUARTER > _SKEW
        frame = self._frames[round(quarters) % 4]
        if text_object is None:
            return Style(invisible=False, white=False, frame=frame, skewed=skewed)
        mode = self._pdfium.FPDFTextObj_GetTextRenderMode(text_object)
        loose = self._loose_box(index, frame)  # of one line: an object is what one operator shows
        across = (loose.top, loose.bottom) if loose.height > 0 else None
        return Style(mode in _INVISIBLE_MODES, self._is_white(text_object), frame, skewed, across)

    def _is_white(self, text_object: Any) -> bool:  # noqa: ANN401 (a pointer of ctypes)
        red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
        found = self._pdfium.FPDFPageObj_GetFillColor(text_object, red, green, blue, alpha)
        return bool(found) and (min(red.value, green.value, blue.value) >= _WHITE or alpha.value == 0)


def _text_by_index(textpage: PdfTextPage, pdfium: Any) -> str:  # noqa: ANN401 (a module)
    """Return a page's text with a character for each of PDFium's indexes."""
    count = textpage.count_chars()
    text: str = textpage.get_text_range() if count > 0 else ""
    if len(text) == count:
        return text
    units = (pdfium.FPDFText_GetUnicode(textpage.raw, index) for index in range(count))
    return "".join(chr(unit) if unit < 0x110000 else LOST for unit in units)  # noqa: PLR2004 (Unicode's last)
