"""What OCR has read, laid out as the text of a page is; and what is said about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ingestion.readers.ocr.engine import LOW_CONFIDENCE, OcrPage
from ingestion.readers.pdf.frames import Box, Frame
from ingestion.readers.pdf.page import layout
from ingestion.readers.pdf.segments import Line
from ingestion.readers.pdf.shapes import Shapes
from ingestion.readers.pdf.words import Word, cleaned
from ingestion.types import ReadWarning

_WIDTH = 595.0  # points: a picture is taken for a page of A4


def words_of_scan(page: OcrPage, frame: Frame) -> list[Word]:
    """Return the words that were read, in a frame in which they are upright."""
    width, height = frame.size
    words = []
    for word in page.words:
        if text := cleaned(word.text):
            box, shown = (
                Box(left * width, top * height, right * width, bottom * height)
                for left, top, right, bottom in (word.box, word.shown)
            )
            words.append(Word(text, text, -1, box, frame.turn, shown=shown))
    return words


def lines_of_scan(page: OcrPage) -> list[Line]:
    """Return the lines of a picture in reading order."""
    width, height = page.size
    frame = Frame(0, 0, _WIDTH, _WIDTH * height / width)
    return layout(words_of_scan(page, frame), frame, Shapes())


def text_of_lines(lines: Sequence[Line]) -> str:
    """Return lines as text, a blank line before paragraphs."""
    return "\n".join(("\n" if line.gap else "") + line.text for line in lines).strip()


def ocr_warnings(scores: Mapping[int, float]) -> Iterator[ReadWarning]:
    """Say which pages were read by OCR; `scores` has the confidence of each."""
    if not scores:
        return
    mean = sum(scores.values()) / len(scores)
    yield ReadWarning("read-by-ocr", f"{pages_named(scores)} read by OCR; mean confidence {mean:.0%}")
    for page, score in list(scores.items())[:20]:
        if score < LOW_CONFIDENCE:
            yield ReadWarning("read-by-ocr", f"page {page} is hard to read; confidence of OCR {score:.0%}", page)


def pages_named(pages: Mapping[int, object] | Sequence[int]) -> str:
    """Return ``page 3`` or ``12 pages (2-9, 11, …)``."""
    numbers = sorted(pages)
    if len(numbers) == 1:
        return f"page {numbers[0]}"
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    shown = [f"{first}-{last}" if last > first else f"{first}" for first, last in ranges[:20]]
    return f"{len(numbers)} pages ({', '.join(shown)}{', …' if len(ranges) > len(shown) else ''})"
