"""Divides what PDFium takes for one word: ``10`` and its exponent ``24``, and what stands in two cells of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ingestion.readers.pdf.frames import Box, Frame
from ingestion.readers.pdf.shapes import Edge

_SMALL = 0.85  # of the size of what an exponent stands at
_RAISED = (0.15, 0.85)  # of that size, from its baseline to the exponent's
_LOWERED = (0.04, 0.5)
_BESIDE = (-0.4, 0.35)  # of that size, from what stands before it to the exponent
_WORD = 3  # letters of a raised word that is no exponent; `1st` and `TM` have two
_FAR = 1.0  # heights between parts that are no word
_SAME_LINE = 0.3  # of the lower part's height
_NEAR = 1.0  # points that a character may reach over a ruled line


class Style(NamedTuple):
    """How the characters of a text object are drawn.

    Attributes:
        across: from the font's top to its bottom, on one line.
        size: the font's, in points; fonts of one size have tops and bottoms of their own.
        baseline: where the characters stand, in the frame.

    """

    invisible: bool
    white: bool
    frame: Frame
    skewed: bool
    across: tuple[float, float] | None = None
    size: float = 0.0
    baseline: float = 0.0


@dataclass(slots=True)
class Part:
    """Characters of a word that one operator shows.

    Attributes:
        first: PDFium's index of the first.
        level: 1 of an exponent, -1 of an index, else 0.
        base: the characters at which an exponent or index stands.
        glued: no blank comes before them, though they are a word of their own.

    """

    raw: str
    first: int
    style: Style
    box: Box
    level: int = 0
    base: str = ""
    glued: bool = False


def divided(parts: Sequence[Part], rules: Sequence[Sequence[Edge]]) -> Iterator[Part]:
    """Yield the words that the parts make; `rules` has the lines across the text for each quarter turn."""
    word, base = parts[0], parts[0]
    for part in parts[1:]:
        level = _level(base, part, word)
        if level and level == word.level:
            _join(word, part)
        elif level:
            yield word
            part.level, part.base, part.glued = level, base.raw, True
            word = part
        elif _is_apart(base, part) or _is_word_above(base, part) or _is_ruled(word, part, rules[part.style.frame.turn]):
            yield word
            word = base = part
        elif word.glued:  # back on the line
            yield word
            part.glued = True
            word = base = part
        else:
            _join(word, part)
            base = part
    yield word


def _join(word: Part, part: Part) -> None:
    word.raw += part.raw
    word.box = word.box.with_box(part.box)


def _level(base: Part, part: Part, word: Part) -> int:
    """Return 1 if a part is an exponent at `base`, -1 if it is an index, else 0; `word` ends before it."""
    size = base.style.size
    if base.style.frame != part.style.frame or not 0 < part.style.size <= _SMALL * size:
        return 0
    beside = min(_gap(base.box, part.box), _gap(word.box, part.box))
    if not _BESIDE[0] * size <= beside <= _BESIDE[1] * size:
        return 0
    raised = (base.style.baseline - part.style.baseline) / size
    if _RAISED[0] <= raised <= _RAISED[1]:
        return 0 if _are_words(base.raw, part.raw) else 1
    return -1 if _LOWERED[0] <= -raised <= _LOWERED[1] else 0


def _are_words(before: str, raised: str) -> bool:
    """Tell whether a word is raised behind another, as no exponent is: it is of the line above, or of a drawing."""
    return len(raised) >= _WORD and raised.isalpha() and len(before) > 1 and before[-2:].isalpha()


def _is_word_above(before: Part, part: Part) -> bool:
    size, baselines = before.style.size, before.style.baseline - part.style.baseline
    return part.style.size < size and baselines > _RAISED[0] * size and _are_words(before.raw, part.raw)


def _is_apart(before: Part, part: Part) -> bool:
    """Tell whether two parts stand one below the other, a fraction's say, or far from each other on the line."""
    shared = min(before.box.bottom, part.box.bottom) - max(before.box.top, part.box.top)
    lower, higher = sorted((before.box.height, part.box.height))
    is_far = shared < _SAME_LINE * lower or _gap(before.box, part.box) > _FAR * higher
    return before.style.frame == part.style.frame and is_far


def _gap(before: Box, box: Box) -> float:
    """Return the distance of two boxes along the line, in either direction; negative if they overlap."""
    return max(box.left - before.right, before.left - box.right)


def _is_ruled(before: Part, part: Part, rules: Sequence[Edge]) -> bool:
    """Tell whether a line of a table stands between two parts."""
    middle = part.box.middle[1]
    return any(
        before.box.right - _NEAR <= rule.at <= part.box.left + _NEAR and rule.start <= middle <= rule.end
        for rule in rules
    )
