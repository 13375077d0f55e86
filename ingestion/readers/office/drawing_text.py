"""Text in shapes and diagrams (DrawingML, ECMA-376 part 1, 21.1.2)."""

from __future__ import annotations

from ingestion.readers.office.formulas import math_text
from ingestion.readers.office.ooxml import Element, child, children, local
from ingestion.readers.scripts import subscript, superscript

_LEFT_OUT = frozenset({"pPr", "rPr", "endParaRPr", "bodyPr", "lstStyle"})


def paragraphs_of(body: Element) -> list[str]:
    """Return the lines of a text body, those of lower levels with a dash; blank ones are left out."""
    lines = (_levelled(each) for each in body.iter() if local(each) == "p")
    return [line for line in lines if line.strip()]


def line_of(element: Element) -> str:
    """Return the text of a paragraph."""
    parts: list[str] = []
    for each in element:
        name = local(each)
        if name in {"r", "fld"}:
            parts.append(_run(each, "".join(parts[-2:])))
        elif name in {"br", "tab"}:
            parts.append("\n" if name == "br" else "\t")
        elif name in {"oMath", "oMathPara"}:
            parts.append(" ".join(math_text(each).split()))
        elif name == "AlternateContent":
            forms = (line_of(form) for form in children(each, "Choice", "Fallback"))
            parts.append(next((form for form in forms if form.strip()), ""))
        elif name == "t":
            parts.append(each.text or "")
        elif name not in _LEFT_OUT:
            parts.append(line_of(each))
    return "".join(parts)


def _levelled(paragraph: Element) -> str:
    line = line_of(paragraph)
    properties = child(paragraph, "pPr")
    level = (properties.get("lvl") or "0") if properties is not None else "0"
    indent = int(level) if level.isdigit() and len(level) == 1 else 0
    return "  " * indent + f"- {line}" if indent and line.strip() else line


def _run(run: Element, before: str) -> str:
    text = "".join(each.text or "" for each in children(run, "t"))
    properties = child(run, "rPr")
    baseline = (properties.get("baseline") or "0") if properties is not None else "0"
    if baseline in {"0", "0%"}:
        return text
    return subscript(text, before) if baseline.startswith("-") else superscript(text, before)
