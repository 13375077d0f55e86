"""Formulas in MathML as plain text: ``(2W)/(rS)``, ``x^2`` (W3C, MathML 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from ingestion.readers.office.ooxml import Element, local


def mathml_text(element: Element) -> str:
    """Return a formula's text; the source that a program keeps beside it is left out."""
    return " ".join(_text(element).split())


def _text(element: Element) -> str:
    name = local(element)
    if name in {"annotation", "annotation-xml"} or not name:
        return ""
    parts = [_text(child) for child in element if local(child)]
    written = _WRITTEN.get(name)
    if written is not None and len(parts) >= 2:  # noqa: PLR2004 (all that are written take two)
        return written(parts)
    if name == "msqrt":
        return f"√({''.join(parts)})"
    if name == "mtable":
        return f"[{'; '.join(parts)}]"
    if name == "mtr":
        return ", ".join(parts)
    return f"{' '.join((element.text or '').split())}{''.join(parts)}"


def _grouped(text: str) -> str:
    return text if len(text) <= 1 or text.isdigit() or (text[0] == "(" and text[-1] == ")") else f"({text})"


def _under_over(parts: list[str]) -> str:
    return f"{parts[0]}_{_grouped(parts[1])}" + (f"^{_grouped(parts[2])}" if len(parts) > 2 else "")  # noqa: PLR2004


_WRITTEN: Mapping[str, Callable[[list[str]], str]] = MappingProxyType({
    "mfrac": lambda parts: f"{_grouped(parts[0])}/{_grouped(parts[1])}",
    "msup": lambda parts: f"{parts[0]}^{_grouped(parts[1])}",
    "mover": lambda parts: f"{parts[0]}^{_grouped(parts[1])}",
    "msub": lambda parts: f"{parts[0]}_{_grouped(parts[1])}",
    "munder": lambda parts: f"{parts[0]}_{_grouped(parts[1])}",
    "msubsup": _under_over,
    "munderover": _under_over,
    "mroot": lambda parts: f"{parts[1]}√({parts[0]})",
})  # fmt: skip
