"""What Word's paragraph styles say: their name, their level in the outline, their numbering (ECMA-376 part 1, 17.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ingestion.readers.office.ooxml import Element, attribute, child, children

_HEADING = re.compile(r"heading ?([1-9])", re.IGNORECASE)
_MOST_PARENTS = 20


@dataclass(frozen=True, slots=True)
class Style:
    """A style; all but its name may be its parent's."""

    name: str = ""
    parent: str = ""
    outline: int | None = None
    number: str | None = None
    level: str | None = None
    hidden: bool = False
    script: str = ""


@dataclass
class Styles:
    """A document's styles by their id."""

    _styles: dict[str, Style] = field(default_factory=dict)

    def load(self, root: Element | None) -> None:
        """Take the styles from the part."""
        for element in children(root, "style") if root is not None else ():
            self._styles[attribute(element, "styleId") or ""] = _style(element)

    def name(self, style: str) -> str:
        """Return a style's name in lower case, as Word calls it in any language; its id if it is not known."""
        return (self._styles[style].name if style in self._styles else style).lower()

    def heading_level(self, style: str) -> int | None:
        """Return the level of a heading's style, from 1; None if it is of no heading."""
        for each in self._line(style):
            found = _HEADING.fullmatch(each.name)
            if found:
                return int(found[1])
            if each.name.lower() == "title":
                return 1
            if each.outline is not None:
                return each.outline + 1 if each.outline < 9 else None  # noqa: PLR2004 (body text)
        found = _HEADING.fullmatch(style) if style not in self._styles else None
        return int(found[1]) if found else None

    def numbering(self, style: str) -> tuple[str | None, str | None]:
        """Return the list and the level of a style; None where it has none."""
        line = self._line(style)
        number = next((each.number for each in line if each.number is not None), None)
        return number, next((each.level for each in line if each.level is not None), None)

    def is_hidden(self, style: str) -> bool:
        """Tell whether text of a style is hidden."""
        return any(each.hidden for each in self._line(style))

    def script(self, style: str) -> str:
        """Return how the text of a style is placed, ``superscript`` say; empty if it is not said."""
        return next((each.script for each in self._line(style) if each.script), "")

    def _line(self, style: str) -> list[Style]:
        """Return a style and those that it is based on."""
        line: list[Style] = []
        while style in self._styles and len(line) < _MOST_PARENTS:
            line.append(self._styles[style])
            style = line[-1].parent
        return line


def value_of(element: Element | None, name: str) -> str | None:
    """Return the value of a property among an element's children."""
    return attribute(child(element, name), "val")


def integer(text: str | None, otherwise: int) -> int:
    """Return a whole number, at most six digits long."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= 6 else otherwise  # noqa: PLR2004


def is_on(properties: Element | None, name: str) -> bool:
    """Tell whether a property is there and not switched off."""
    found = child(properties, name)
    return found is not None and attribute(found, "val") not in {"0", "false", "off"}


def _style(element: Element) -> Style:
    properties = child(element, "pPr")
    numbering = child(properties, "numPr")
    outline = value_of(properties, "outlineLvl")
    return Style(
        name=value_of(element, "name") or "",
        parent=value_of(element, "basedOn") or "",
        outline=integer(outline, 9) if outline is not None else None,
        number=value_of(numbering, "numId"),
        level=value_of(numbering, "ilvl"),
        hidden=is_on(child(element, "rPr"), "vanish"),
        script=value_of(child(element, "rPr"), "vertAlign") or "",
    )
