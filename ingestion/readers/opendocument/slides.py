"""OpenDocument presentations: each slide a page, its title a heading."""

from __future__ import annotations

from pathlib import PurePath

from ingestion.readers.assembly import Assembly
from ingestion.readers.office.ooxml import Element, attribute, child, children, local
from ingestion.readers.opendocument.text import OpenDocument, Walk, finished, walk_of
from ingestion.types import Extracted, Heading, ReadOptions

_UNITS = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72}


def read_odp(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a presentation; a hidden slide is a page without text, so that pages count as the program counts.

    Raises:
        Unreadable: it is encrypted, damaged, or a zip bomb perhaps.

    """
    document = OpenDocument(data)
    assembly = Assembly()
    walk = walk_of(document, assembly, options)
    hidden = {
        attribute(style, "name")
        for style in (each for each in document.content.iter() if local(each) == "style")
        if attribute(child(style, "drawing-page-properties"), "visibility") == "hidden"
    }
    left_out = 0
    for number, page in enumerate(children(document.body("presentation"), "page"), 1):
        assembly.page()
        if attribute(page, "style-name") in hidden and not options.hidden:
            left_out += 1
        else:
            _add_slide(assembly, walk, page, number)
    if left_out:
        assembly.warn("hidden-left-out", f"{left_out} hidden {'slide is' if left_out == 1 else 'slides are'} left out.")
    title = assembly.headings[0].text if assembly.headings else ""
    return finished(assembly, walk, name, title)


def _add_slide(assembly: Assembly, walk: Walk, page: Element, number: int) -> None:
    shapes = [each for each in page if local(each) not in {"notes", "forms", "event-listeners"}]
    title = next((each for each in shapes if attribute(each, "class") == "title"), None)
    heading = " ".join(walk.text([title]).split()) if title is not None else ""
    if heading:
        assembly.heading(heading, 1)
    else:
        assembly.headings.append(Heading(assembly.pages[-1], 1, f"Slide {number}"))
    for shape in sorted((each for each in shapes if each is not title), key=_place):
        assembly.paragraph(walk.text([shape]))
    for notes in children(page, "notes"):
        frames = [each for each in notes if attribute(each, "class") in {"notes", None}]
        text = "\n".join(filter(None, (walk.text([each]) for each in frames)))
        assembly.paragraph(f"Notes: {text}" if text else "")


def _place(shape: Element) -> tuple[float, float]:
    """Return where a shape stands, in halves of a centimetre from the top, and centimetres from the left."""
    return round(2 * _length(attribute(shape, "y"))), _length(attribute(shape, "x"))


def _length(text: str | None) -> float:
    text = text or ""
    try:
        return float(text[:-2]) * _UNITS.get(text[-2:], 1.0)
    except ValueError:
        return 0.0
