"""Formulas of Word as plain text: ``(2W)/(rS)``, ``x^2``, ``∑_(i=1)^n`` (Office MathML, ECMA-376 part 1, 22.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ingestion.readers.office.ooxml import Element, attribute, child, children, local

_OVERLINE = "\u0305"


def math_text(element: Element) -> str:
    """Return a formula's text; what is not known is the text of its parts."""
    name = local(element)
    if name == "t":
        return element.text or ""
    if name.endswith("Pr"):
        return ""
    written = _WRITTEN.get(name)
    return written(element) if written else "".join(map(math_text, element))


def _part(element: Element, name: str) -> str:
    found = child(element, name)
    return math_text(found).strip() if found is not None else ""


def _grouped(text: str) -> str:
    return text if len(text) <= 1 or text.isdigit() or (text[0] == "(" and text[-1] == ")") else f"({text})"


def _property(element: Element, name: str, *, otherwise: str) -> str:
    """Return a property's value; a property without one is switched off."""
    found = child(element, f"{local(element)}Pr", name)
    return otherwise if found is None else attribute(found, "val") or ""


def _fraction(element: Element) -> str:
    above, below = _part(element, "num"), _part(element, "den")
    if _property(element, "type", otherwise="bar") == "noBar":
        return f"({above} over {below})"
    return f"{_grouped(above)}/{_grouped(below)}" if above or below else ""


def _scripts(element: Element) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    scripts = (f"_{_grouped(below)}" if below else "") + (f"^{_grouped(above)}" if above else "")
    base = _part(element, "e")
    return scripts + base if local(element) == "sPre" else base + scripts


def _root(element: Element) -> str:
    degree = _part(element, "deg")
    return f"root({_part(element, 'e')}, {degree})" if degree else f"√({_part(element, 'e')})"


def _nary(element: Element) -> str:
    below, above = _part(element, "sub"), _part(element, "sup")
    sign = _property(element, "chr", otherwise="∫")
    return (
        f"{sign}{f'_{_grouped(below)}' if below else ''}{f'^{_grouped(above)}' if above else ''} {_part(element, 'e')}"
    )


def _delimited(element: Element) -> str:
    begin, end = _property(element, "begChr", otherwise="("), _property(element, "endChr", otherwise=")")
    between = _property(element, "sepChr", otherwise="|")
    return begin + between.join(math_text(each).strip() for each in children(element, "e")) + end


def _function(element: Element) -> str:
    return f"{_part(element, 'fName')} {_grouped(_part(element, 'e'))}"


def _limit(element: Element) -> str:
    sign = "_" if local(element) == "limLow" else "^"
    return f"{_part(element, 'e')}{sign}{_grouped(_part(element, 'lim'))}"


def _accent(element: Element) -> str:
    return _part(element, "e") + _property(element, "chr", otherwise="\u0302")


def _bar(element: Element) -> str:
    return "".join(char + _OVERLINE for char in _part(element, "e"))


def _matrix(element: Element) -> str:
    rows = (", ".join(math_text(cell).strip() for cell in children(row, "e")) for row in children(element, "mr"))
    return f"[{'; '.join(rows)}]"


def _lines(element: Element) -> str:
    return "; ".join(math_text(line).strip() for line in children(element, "e"))


_WRITTEN: Mapping[str, Callable[[Element], str]] = MappingProxyType({
    "f": _fraction, "sSup": _scripts, "sSub": _scripts, "sSubSup": _scripts, "sPre": _scripts, "rad": _root,
    "nary": _nary, "d": _delimited, "func": _function, "limLow": _limit, "limUpp": _limit, "acc": _accent, "bar": _bar,
    "m": _matrix, "eqArr": _lines,
})  # fmt: skip
