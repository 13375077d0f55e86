"""Numbers of Word's headings and lists, which a document stores as rules (ECMA-376 part 1, 17.9)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ingestion.readers.office.ooxml import Element, attribute, child, children
from ingestion.readers.word.styles import Styles, integer, value_of

_PLACE = re.compile(r"%([1-9])")
_MOST_LEVELS = 9
_ROMAN = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"), (40, "xl"), (10, "x"),
    (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Level:
    """A level's rule: where it starts, how its number looks (``lowerRoman``), and within which text (``%1.%2``)."""

    start: int = 1
    form: str = "decimal"
    text: str = ""
    style: str = ""
    restarts: bool = True
    legal: bool = False


@dataclass
class Numbering:
    """The rules of a document, and how far each has counted."""

    styles: Styles
    _abstract: dict[str, dict[int, Level]] = field(default_factory=dict)
    _links: dict[str, str] = field(default_factory=dict)
    _nums: dict[str, tuple[str, dict[int, int], dict[int, Level]]] = field(default_factory=dict)
    _counts: dict[str, dict[int, int]] = field(default_factory=dict)
    _begun: set[tuple[str, int]] = field(default_factory=set)

    def load(self, root: Element | None) -> None:
        """Take the rules from the part."""
        for element in children(root, "abstractNum") if root is not None else ():
            own = attribute(element, "abstractNumId") or ""
            self._abstract[own] = {at: level for at, level in map(_level, children(element, "lvl")) if at is not None}
            if link := value_of(element, "numStyleLink"):
                self._links[own] = link
        for element in children(root, "num") if root is not None else ():
            starts: dict[int, int] = {}
            levels: dict[int, Level] = {}
            for override in children(element, "lvlOverride"):
                at = integer(attribute(override, "ilvl"), 0)
                if (start := value_of(override, "startOverride")) is not None:
                    starts[at] = integer(start, 1)
                if (own_level := child(override, "lvl")) is not None:
                    levels[at] = _level(own_level)[1]
            number = attribute(element, "numId") or ""
            self._nums[number] = (value_of(element, "abstractNumId") or "", starts, levels)

    def place(self, properties: Element | None, style: str) -> tuple[str, int] | None:
        """Return a paragraph's list and level, its own or its style's; None if it is not numbered."""
        own = child(properties, "numPr")
        number, level = (value_of(own, "numId"), value_of(own, "ilvl")) if own is not None else (None, None)
        of_style, level_of_style = self.styles.numbering(style)
        number = number if number is not None else of_style
        if number is None or number == "0" or number not in self._nums:
            return None
        if level is None:
            level = level_of_style
        if level is None:
            level = next((str(at) for at, rule in self._levels(number)[1].items() if rule.style == style), "0")
        return number, min(integer(level, 0), _MOST_LEVELS - 1)

    def label(self, number: str, level: int) -> str:
        """Count a paragraph and return what stands before it: ``2.2``, ``a)``, ``-`` for a bullet; or nothing."""
        shared, levels = self._levels(number)
        counts = self._counts.setdefault(shared, {})
        rule = levels.get(level, Level())
        start = self._nums[number][1].get(level)
        if start is not None and (number, level) not in self._begun:
            counts.pop(level, None)
        self._begun.add((number, level))
        counts[level] = counts[level] + 1 if level in counts else (start if start is not None else rule.start)
        for deeper in [at for at in counts if at > level and levels.get(at, Level()).restarts]:
            del counts[deeper]
        if rule.form == "bullet":
            return "-"
        return _PLACE.sub(lambda place: self._shown(int(place[1]) - 1, counts, levels, rule), rule.text).strip()

    def _shown(self, at: int, counts: dict[int, int], levels: dict[int, Level], rule: Level) -> str:
        level = levels.get(at, Level())
        return number_text(counts.get(at, level.start), "decimal" if rule.legal else level.form)

    def _levels(self, number: str) -> tuple[str, dict[int, Level]]:
        """Return the name under which a list counts, and its rules; a list may be another style's."""
        abstract, _, own = self._nums[number]
        linked = self.styles.numbering(self._links.get(abstract, ""))[0]
        if linked and linked != number and linked in self._nums:
            abstract = self._nums[linked][0]
        return abstract, self._abstract.get(abstract, {}) | own


def number_text(number: int, form: str) -> str:
    """Return a number in a form of Word's; in digits if the form is not known."""
    if form in {"lowerLetter", "upperLetter"} and number > 0:
        letters = chr(97 + (number - 1) % 26) * min((number - 1) // 26 + 1, 20)
        return letters if form == "lowerLetter" else letters.upper()
    if form in {"lowerRoman", "upperRoman"} and 0 < number < 4000:  # noqa: PLR2004 (no Roman number is larger)
        return _roman(number) if form == "lowerRoman" else _roman(number).upper()
    if form == "decimalZero":
        return f"{number:02d}"
    if form == "ordinal":
        ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")  # noqa: PLR2004
        return f"{number}{ending}"
    return "" if form == "none" else str(number)


def _roman(number: int) -> str:
    letters = ""
    for value, letter in _ROMAN:
        letters += letter * (number // value)
        number %= value
    return letters


def _level(element: Element) -> tuple[int | None, Level]:
    at = attribute(element, "ilvl")
    legal = child(element, "isLgl")
    return integer(at, 0) if at is not None else None, Level(
        start=integer(value_of(element, "start"), 0 if value_of(element, "start") else 1),
        form=value_of(element, "numFmt") or "decimal",
        text=value_of(element, "lvlText") or "",
        style=value_of(element, "pStyle") or "",
        restarts=value_of(element, "lvlRestart") != "0",
        legal=legal is not None and attribute(legal, "val") not in {"0", "false"},
    )
