"""Numbers of headings and lists in OpenDocument files (part 3, 16.30 and 19.880)."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingestion.readers.office.ooxml import Element, attribute, local
from ingestion.readers.word.numbering import number_text

_FORMS = {"1": "decimal", "a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}


@dataclass(frozen=True, slots=True)
class Level:
    """A level's rule; a form of None has no number, an empty one is a bullet."""

    form: str | None = None
    before: str = ""
    after: str = ""
    shown: int = 1
    start: int = 1


@dataclass
class Numbers:
    """The rules of a document, and how far each has counted."""

    _outline: dict[int, Level] = field(default_factory=dict)
    _lists: dict[str, dict[int, Level]] = field(default_factory=dict)
    _headings: dict[int, int] = field(default_factory=dict)
    _counts: dict[tuple[str, int], int] = field(default_factory=dict)

    def load(self, root: Element) -> None:
        """Take the rules from a part."""
        for element in root.iter():
            if local(element) == "outline-style":
                self._outline |= _levels(element)
            elif local(element) == "list-style":
                self._lists[attribute(element, "name") or ""] = _levels(element)

    def heading(self, level: int) -> str:
        """Count a heading and return its number, or nothing."""
        rule = self._outline.get(level)
        self._headings = {at: count for at, count in self._headings.items() if at <= level}
        self._headings[level] = self._headings.get(level, (rule.start if rule else 1) - 1) + 1
        if rule is None or not rule.form:
            return ""
        return _label(rule, level, self._outline, self._headings)

    def begin(self, element: Element, style: str | None, level: int) -> None:
        """Begin a list; it counts anew unless it says that it goes on."""
        if attribute(element, "continue-numbering") != "true" and not attribute(element, "continue-list"):
            self._counts.pop((style or "", level), None)

    def item(self, style: str | None, level: int, item: Element) -> str:
        """Count an item and return what stands before it: ``2.``, ``-`` for a bullet."""
        levels = self._lists.get(style or "", {})
        rule = levels.get(level, Level(form=""))
        start = attribute(item, "start-value") or ""
        key = (style or "", level)
        self._counts[key] = int(start) if start.isdigit() else self._counts.get(key, rule.start - 1) + 1
        if rule.form is None:
            return ""
        if not rule.form:
            return "-"
        counts = {at: self._counts.get((style or "", at), 1) for at in range(1, level + 1)}
        return _label(rule, level, levels, counts)


def _label(rule: Level, level: int, levels: dict[int, Level], counts: dict[int, int]) -> str:
    shown = range(max(1, level - rule.shown + 1), level + 1)
    numbers = (number_text(counts.get(at, 1), (levels.get(at, rule).form or "decimal")) for at in shown)
    return f"{rule.before}{'.'.join(numbers)}{rule.after}".strip()


def _levels(style: Element) -> dict[int, Level]:
    levels: dict[int, Level] = {}
    for element in style:
        name = local(element)
        at = attribute(element, "level") or ""
        if not at.isdigit():
            continue
        form = _FORMS.get(attribute(element, "num-format") or "")
        if name == "list-level-style-bullet":
            form = ""
        start, shown = attribute(element, "start-value") or "1", attribute(element, "display-levels") or "1"
        levels[int(at)] = Level(
            form,
            attribute(element, "num-prefix") or "",
            attribute(element, "num-suffix") or "",
            int(shown) if shown.isdigit() else 1,
            int(start) if start.isdigit() else 1,
        )
    return levels
