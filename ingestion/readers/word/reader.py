"""Word documents, walked part by part: nothing of them is escaped, and an odd part refuses none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.assembly import Assembly, add_pieces, is_page_number
from ingestion.readers.office.drawings import Pictures
from ingestion.readers.office.ooxml import Element, Package, attribute, local
from ingestion.readers.word.numbering import Numbering
from ingestion.readers.word.story import Shared, Story
from ingestion.readers.word.styles import Styles
from ingestion.types import Extracted, ReadOptions

_READ = frozenset({"styles", "numbering", "footnotes", "endnotes", "comments"})


def read_docx(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a Word document; headings come from its styles, with their numbers.

    Raises:
        Unreadable: it is encrypted, damaged, or a zip bomb perhaps.

    """
    package = Package(data)
    main = package.main("word/document.xml")
    root = package.xml(main)
    body = next((each for each in root if local(each) == "body"), None) if root is not None else None
    if body is None:
        msg = "a damaged Word document"
        raise Unreadable(msg)
    assembly = Assembly()
    shared = _shared(package, main, options, assembly)
    story = Story(shared, main)
    _add_frames(assembly, story, body, "headerReference")
    title = add_pieces(assembly, story.pieces(body))
    _add_frames(assembly, story, body, "footerReference")
    shared.say()
    assembly.warnings += package.warnings
    return assembly.extracted(name, title=package.title() or title)


def _shared(package: Package, main: str, options: ReadOptions, assembly: Assembly) -> Shared:
    styles = Styles()
    numbering = Numbering(styles)
    notes: dict[tuple[str, str], tuple[str, Element]] = {}
    for relation in package.relations(main).values():
        if relation.external or relation.kind not in _READ:
            continue
        if relation.target not in package:
            package.damaged(relation.target)
        if relation.kind == "styles":
            styles.load(package.xml(relation.target))
        elif relation.kind == "numbering":
            numbering.load(package.xml(relation.target))
        else:
            root = package.xml(relation.target)
            for note in root if root is not None else ():
                if attribute(note, "type") in {None, "normal"}:
                    notes[relation.kind.removesuffix("s"), attribute(note, "id") or ""] = (relation.target, note)
    return Shared(package, options, assembly, styles, numbering, Pictures(package, options, assembly), notes)


def _add_frames(assembly: Assembly, story: Story, body: Element, name: str) -> None:
    """Add the headers, or footers, of all pages: each text once, without page numbers."""
    seen: set[str] = set()
    for reference in (each for each in body.iter() if local(each) == name):
        relation = story.relation(reference)
        root = story.shared.package.xml(relation.target) if relation is not None else None
        if relation is None or root is None:
            continue
        for text in _frame_texts(Story(story.shared, relation.target), root):
            if text not in seen:
                seen.add(text)
                assembly.paragraph(text)


def _frame_texts(story: Story, root: Element) -> Iterator[str]:
    for piece in story.pieces(root):
        if not is_page_number(piece.text):
            yield piece.text
