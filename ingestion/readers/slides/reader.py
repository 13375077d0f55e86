"""PowerPoint presentations: each slide a page, its title a heading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from ingestion.readers.assembly import Assembly
from ingestion.readers.cleaning import one_line
from ingestion.readers.office.drawing_text import paragraphs_of
from ingestion.readers.office.drawings import Pictures, members
from ingestion.readers.office.ooxml import Element, Package, attribute, child, children, relation_id
from ingestion.readers.slides.shapes import Said, Shapes
from ingestion.types import Extracted, Heading, ReadOptions

_FEW = 3  # slides: what is on fewer is repeated by chance
_NUMBER = "sldNum"
_NOT_NOTES = frozenset({"sldImg", "sldNum", "hdr", "ftr", "dt"})


def read_pptx(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a presentation; a hidden slide is a page without text, so that pages count as the program counts.

    Raises:
        Unreadable: it is encrypted, damaged, or a zip bomb perhaps.

    """
    package = Package(data)
    assembly = Assembly()
    pictures = Pictures(package, options, assembly)
    slides = [_slide(package, part, pictures, assembly, options) for part in _parts(package)]
    repeated = _repeated([said or [] for said in slides])
    seen: set[str] = set()
    for (part, said), number in zip(zip(_parts(package), slides, strict=True), range(1, len(slides) + 1), strict=True):
        assembly.page()
        if said is not None:
            _add_slide(assembly, _kept(said, repeated, seen), number)
            _add_notes(assembly, package, part)
    hidden = sum(said is None for said in slides)
    if hidden:
        assembly.warn("hidden-left-out", f"{hidden} hidden {'slide is' if hidden == 1 else 'slides are'} left out.")
    if repeated:
        assembly.warn("boilerplate-left-out", "Text that most slides repeat is read once.")
    pictures.say()
    assembly.warnings += package.warnings
    first = next((said[0].text for said in slides if said and "itle" in said[0].role), "")
    return assembly.extracted(name, title=package.title() or one_line(first))


def _parts(package: Package) -> list[str]:
    """Return the slides in order; those that the presentation does not list if it is damaged."""
    main = package.main("ppt/presentation.xml")
    relations = package.relations(main)
    listed = child(package.xml(main), "sldIdLst")
    ids = [relation_id(each) for each in children(listed, "sldId")] if listed is not None else []
    found = [relations[each].target for each in ids if each in relations]
    return found or [part for part in package.parts("ppt/slides/slide") if part.endswith(".xml")]


def _slide(
    package: Package, part: str, pictures: Pictures, assembly: Assembly, options: ReadOptions
) -> list[Said] | None:
    """Return what a slide says; None for a hidden one."""
    root = package.xml(part)
    tree = child(root, "cSld", "spTree")
    if tree is None:
        package.damaged(part)
        return []
    if attribute(root, "show") in {"0", "false"} and not options.hidden:
        return None
    return Shapes(package, part, pictures, assembly).said(tree)


def _repeated(slides: Sequence[Sequence[Said]]) -> set[str]:
    """Return the texts that are at one place on most slides, titles aside."""
    counts = Counter(key for said in slides for key in {(each.text, each.place) for each in said if _may_repeat(each)})
    shown = sum(bool(said) for said in slides)
    return {text for (text, _), count in counts.items() if count >= _FEW and 2 * count > shown}


def _may_repeat(said: Said) -> bool:
    return said.role in {"", "ftr", "dt", "hdr"} and len(said.text) <= 200  # noqa: PLR2004 (characters of a line)


def _kept(said: Sequence[Said], repeated: set[str], seen: set[str]) -> Iterator[Said]:
    """Yield what is to be read: no slide numbers, and of footers and repeated texts the first."""
    for each in said:
        footer = each.role in {"ftr", "dt", "hdr"} or each.text in repeated
        if each.role != _NUMBER and not (footer and each.text in seen):
            yield each
        if footer:
            seen.add(each.text)


def _add_slide(assembly: Assembly, said: Iterator[Said], number: int) -> None:
    """Add a slide; one without a title has its number as heading, so that it takes none from a slide before it."""
    found = list(said)
    if found and found[0].role in {"title", "ctrTitle"}:
        assembly.heading(found.pop(0).text, 1)
    else:
        assembly.headings.append(Heading(assembly.pages[-1], 1, f"Slide {number}"))
    for each in found:
        assembly.paragraph(each.text)


def _add_notes(assembly: Assembly, package: Package, part: str) -> None:
    """Add the speaker's notes, and comments."""
    for notes in package.related(part, "notesSlide"):
        root = package.xml(notes)
        for shape in members(root, "sp") if root is not None else ():
            holder = child(shape, "nvSpPr", "nvPr", "ph")
            body = child(shape, "txBody")
            if body is not None and (holder is None or holder.get("type") not in _NOT_NOTES):
                text = "\n".join(paragraphs_of(body))
                assembly.paragraph(f"Notes: {text}" if text.strip() else "")
    for comments in package.related(part, "comments"):
        root = package.xml(comments)
        for comment in members(root, "cm") + members(root, "reply") if root is not None else ():
            assembly.paragraph(_comment(comment))


def _comment(comment: Element) -> str:
    plain, body = child(comment, "text"), child(comment, "txBody")
    text = (plain.text or "") if plain is not None else ""
    if body is not None:
        text = "\n".join(paragraphs_of(body))
    return f"[comment: {text}]" if text.strip() else ""
