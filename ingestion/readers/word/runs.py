"""The text of one of Word's paragraphs: runs, changes that were tracked, fields, formulas (ECMA-376 part 1, 17.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ingestion.readers.office.formulas import math_text
from ingestion.readers.office.ooxml import Element, attribute, child, children, local
from ingestion.readers.scripts import subscript, superscript
from ingestion.readers.word.styles import is_on, value_of

_LEFT_OUT = frozenset({
    "del", "moveFrom", "delText", "instrText", "delInstrText", "rPr", "pPr", "sdtPr", "sdtEndPr", "footnoteRef",
    "endnoteRef", "annotationRef", "rt", "softHyphen", "lastRenderedPageBreak", "fldData", "customXmlPr", "smartTagPr",
    "proofErr", "bookmarkStart", "bookmarkEnd", "separator", "continuationSeparator",
})  # fmt: skip
_SIGNS: Mapping[str, str] = MappingProxyType({"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"})
_LATIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_GREEK = "ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖαβχδεφγηιϕκλμνοπθρστυϖωξψζ"
_SYMBOL = dict(zip(map(ord, _LATIN), _GREEK, strict=True)) | {
    0xA3: "≤", 0xA5: "∞", 0xAE: "→", 0xB0: "°", 0xB1: "±", 0xB3: "≥", 0xB4: "×", 0xB5: "∝", 0xB7: "•", 0xB9: "≠",
    0xD6: "√", 0xE5: "∑",
}  # fmt: skip
_WINGDINGS = {0xA8: "☐", 0xE0: "→", 0xFB: "✗", 0xFC: "✓", 0xFD: "☒", 0xFE: "☑", 0x6F: "☐"}


@dataclass
class Inline:
    """The text of a paragraph while it is read.

    Attributes:
        refer: called for each note, comment, drawing and text box, in order; returns what stands in the text for it.
        odd: called with what is wrong with a part.
        hidden: include text that is formatted as hidden.
        script: returns how the text of a style is placed.

    """

    refer: Callable[[Element], str]
    odd: Callable[[str], None]
    hidden: bool
    script: Callable[[str], str] = lambda _: ""
    parts: list[str] = field(default_factory=list)
    hid: int = 0
    fields: int = 0

    def text(self, paragraph: Element) -> str:
        """Return the text of a paragraph, or of any element within one."""
        self._walk(paragraph)
        if self.fields:
            self.fields = 0
            self.odd("A field has no end; its result is read as text.")
        return "".join(self.parts)

    def _walk(self, element: Element) -> None:
        for each in element:
            self._add(each, local(each))

    def _add(self, each: Element, name: str) -> None:
        if name in _LEFT_OUT:
            return
        if name == "r":
            self._run(each)
        elif name in {"t", "sym"}:
            self.parts.append(_symbol(each) if name == "sym" else each.text or "")
        elif name in _SIGNS:
            self.parts.append(_SIGNS[name])
        elif name in {"oMath", "oMathPara"}:
            self.parts.append(_spaced(math_text(each)))
        elif name == "fldChar":
            self._field(each)
        elif name in _REFERRING:
            self.parts.append(self.refer(each))
        elif name == "ruby":
            self._ruby(each)
        elif name == "AlternateContent":
            self._alternative(each)
        else:
            self._walk(each)

    def _run(self, run: Element) -> None:
        properties = child(run, "rPr")
        if properties is None:
            self._walk(run)
            return
        if not self.hidden and is_on(properties, "vanish"):
            self.hid += any(local(each) == "t" and each.text for each in run)
            return
        placed = self._placed(properties)
        if placed not in {"superscript", "subscript"}:
            self._walk(run)
            return
        begun = len(self.parts)
        self._walk(run)
        before = "".join(self.parts[max(0, begun - 3) : begun])
        script = "".join(self.parts[begun:])
        self.parts[begun:] = [(superscript if placed == "superscript" else subscript)(script, before)]

    def _placed(self, properties: Element) -> str:
        """Return how a run is placed: as it says, as its style says, or by how far it is raised in small letters."""
        said = value_of(properties, "vertAlign") or self.script(value_of(properties, "rStyle") or "")
        raised = value_of(properties, "position") or "0"
        if said or child(properties, "sz") is None or not raised.removeprefix("-").isdigit() or int(raised) == 0:
            return said
        return "subscript" if int(raised) < 0 else "superscript"

    def _field(self, element: Element) -> None:
        kind = attribute(element, "fldCharType")
        if kind == "begin":
            self.fields += 1
            self.parts.append(_form_value(element))
        elif kind == "end" and self.fields:
            self.fields -= 1
        elif kind != "separate":
            self.odd("A field has no beginning; its result is read as text.")

    def _ruby(self, element: Element) -> None:
        """Add a text with its pronunciation in brackets."""
        for base in children(element, "rubyBase"):
            self._walk(base)
        for hint in children(element, "rt"):
            self.parts.append("(")
            self._walk(hint)
            self.parts.append(")")

    def _alternative(self, element: Element) -> None:
        """Read the newest form of a drawing; an older one if that is empty."""
        for form in children(element, "Choice", "Fallback"):
            before = len(self.parts), self.refer
            self._walk(form)
            if len(form) and len(self.parts) > before[0]:
                return


def _symbol(element: Element) -> str:
    code = attribute(element, "char") or ""
    try:
        number = int(code[:6], 16)
    except ValueError:
        return ""
    font = (attribute(element, "font") or "").lower()
    known = _WINGDINGS if "wingdings" in font else _SYMBOL
    if 0xF000 <= number <= 0xF0FF:  # noqa: PLR2004 (where fonts of symbols have their letters)
        return known.get(number - 0xF000, "•")
    return known.get(number) or (chr(number) if 31 < number < 0xD800 else "") if font == "symbol" else chr(number)  # noqa: PLR2004


def _form_value(element: Element) -> str:
    """Return what a form's field shows that is no text: a ticked box, a choice."""
    data = child(element, "ffData")
    box, choice = child(data, "checkBox"), child(data, "ddList")
    if box is not None:
        ticked = is_on(box, "checked") if child(box, "checked") is not None else is_on(box, "default")
        return "☑" if ticked else "☐"
    if choice is None:
        return ""
    entries = [attribute(each, "val") or "" for each in children(choice, "listEntry")]
    chosen = value_of(choice, "result") or value_of(choice, "default") or "0"
    return entries[int(chosen)] if chosen.isdigit() and int(chosen) < len(entries) else ""


def _spaced(formula: str) -> str:
    return " ".join(formula.split())


_REFERRING = frozenset({
    "footnoteReference", "endnoteReference", "commentReference", "drawing", "pict", "object", "hyperlink",
})  # fmt: skip
