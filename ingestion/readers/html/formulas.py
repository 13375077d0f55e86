"""Raised and lowered text, and MathML, as plain text: ``10^24``, ``H2O``, ``x_i``, ``(a+b)/(c)``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ingestion.readers.html.tree import tag_of

if TYPE_CHECKING:
    from lxml.html import HtmlElement

_ORDINAL = re.compile(
    r"(?:st|nd|rd|th|er|re|ère|ers|es|e|o|a|os|as|do|de|ten|te|ème|tm|sm|r|®|™|°|º|ª|′|″|[’'\"])", re.IGNORECASE
)
_ATOM = re.compile(r"[+\-−±]?\w+[+\-−*]?|[+\-−*†‡′]+")
_ATOMIC_NUMBER = re.compile(r"\d+[+\-−]?")


def raised(text: str, *, after: str) -> str:
    """Return raised text as it stands after some text: ``^2``, ``^(n+1)``; as it is after no letter or digit."""
    if not text or text.startswith(("^", "[", "(")) or not after or not (after[-1].isalnum() or after[-1] in ")]}|’'"):
        return text
    if _ORDINAL.fullmatch(text) and (after[-1].isdigit() or not text.isalpha() or text.lower() in {"tm", "sm"}):
        return text
    return f"^{text}" if _ATOM.fullmatch(text) else f"^({text})"


def lowered(text: str, *, after: str) -> str:
    """Return lowered text: ``H2O`` for digits after a letter or bracket, else ``x_i`` and ``x_(n+1)``."""
    if not text or not after or not (after[-1].isalnum() or after[-1] in ")]"):
        return text
    if _ATOMIC_NUMBER.fullmatch(text) and not after[-1].isdigit():
        return text
    return f"_{text}" if _ATOM.fullmatch(text) else f"_({text})"


def as_text(math: HtmlElement) -> str:
    """Return a formula of MathML: as its author wrote it in TeX, if that is there, else as plain text."""
    for annotation in math.iter():
        if tag_of(annotation) == "annotation" and "tex" in annotation.get("encoding", "").lower():
            return f" {' '.join((annotation.text or '').split())} "
    alternative = math.get("alttext")
    return f" {' '.join(alternative.split())} " if alternative else f" {_plain(math).strip()} "


def _plain(element: HtmlElement) -> str:
    tag = tag_of(element)
    if tag in {"annotation", "annotation-xml"}:
        return ""
    parts = [_plain(child) for child in element if isinstance(child.tag, str)]
    layout = _LAYOUTS.get(tag)
    if layout is not None and len(parts) >= _NEEDED.get(tag, 1):
        return layout(parts)
    own = " ".join((element.text or "").split())
    if tag == "mo" and own and own not in "()[]{}|,.;!′":
        return f" {own} "
    return own + "".join(parts)


def _group(part: str) -> str:
    part = part.strip()
    return part if len(part) <= 1 or part.isalnum() else f"({part})"


_NEEDED: Mapping[str, int] = {
    "mfrac": 2, "msup": 2, "msub": 2, "mroot": 2, "mover": 2, "munder": 2, "msubsup": 3, "munderover": 3,
}  # fmt: skip
_LAYOUTS: Mapping[str, Callable[[list[str]], str]] = {
    "mfrac": lambda parts: f"{_group(parts[0])}/{_group(parts[1])}",
    "msup": lambda parts: f"{parts[0].strip()}^{_group(parts[1])}",
    "msub": lambda parts: f"{parts[0].strip()}_{_group(parts[1])}",
    "msubsup": lambda parts: f"{parts[0].strip()}_{_group(parts[1])}^{_group(parts[2])}",
    "munder": lambda parts: f"{parts[0].strip()}_{_group(parts[1])}",
    "mover": lambda parts: f"{parts[0].strip()}^{_group(parts[1])}",
    "munderover": lambda parts: f"{parts[0].strip()}_{_group(parts[1])}^{_group(parts[2])} ",
    "msqrt": lambda parts: f"√({''.join(parts).strip()})",
    "mroot": lambda parts: f"root({parts[0].strip()}, {parts[1].strip()})",
    "mtr": lambda parts: ", ".join(part.strip() for part in parts),
    "mtable": lambda parts: "[" + "; ".join(part.strip() for part in parts) + "]",
    "mtd": "".join,
}
