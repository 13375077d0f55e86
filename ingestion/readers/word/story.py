"""The blocks of a part of a Word document: paragraphs, lists, tables, and what is anchored in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ingestion.readers.assembly import Assembly, Piece
from ingestion.readers.office.drawings import (
    Pictures,
    alternative_text,
    chart_text,
    diagram_text,
    embedded,
    members,
)
from ingestion.readers.office.ooxml import Element, Package, Relation, attribute, child, children, local, relation_id
from ingestion.readers.word.chunks import chunk_of, pieces_of
from ingestion.readers.word.numbering import Numbering
from ingestion.readers.word.runs import Inline
from ingestion.readers.word.styles import Styles, value_of
from ingestion.readers.word.tables import table_pieces
from ingestion.types import ReadOptions

_WRAPPERS = frozenset({"sdt", "sdtContent", "ins", "moveTo", "customXml", "smartTag", "txbxContent", "body"})
_DEEPEST = 40  # blocks within blocks; Python's own limit is reached at some 100
_ODD = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError, NotImplementedError)


@dataclass
class Shared:
    """What all parts of a document have in common."""

    package: Package
    options: ReadOptions
    assembly: Assembly
    styles: Styles
    numbering: Numbering
    pictures: Pictures
    notes: dict[tuple[str, str], tuple[str, Element]]
    numbers: dict[str, int] = field(default_factory=dict)
    hidden: int = 0

    def odd(self, detail: str) -> None:
        """Say that a part is not as it should be."""
        self.assembly.warn("part-unreadable", detail)

    def say(self) -> None:
        """Say what was left out of the document as a whole."""
        self.pictures.say()
        if self.hidden:
            self.assembly.warn("hidden-left-out", f"Text formatted as hidden is left out; runs of it: {self.hidden}.")


class Story:
    """A part with text of its own: the body, a header, the footnotes."""

    def __init__(self, shared: Shared, part: str) -> None:
        self.shared = shared
        self._relations = shared.package.relations(part)
        self._asides: list[str] = []
        self._open_notes: set[tuple[str, str]] = set()
        self._depth = 0

    def relation(self, element: Element) -> Relation | None:
        """Return the relationship that an element refers to, if its part is there."""
        found = self._relations.get(relation_id(element))
        return found if found is not None and (found.external or found.target in self.shared.package) else None

    def pieces(self, container: Iterable[Element]) -> Iterator[Piece]:
        """Yield the blocks; of one that is too odd, its bare text."""
        if self._depth > _DEEPEST:
            self.shared.odd("Blocks are nested too deeply; their bare text is read.")
            yield Piece(_bare(container))
            return
        self._depth += 1
        try:
            yield from self._pieces(container)
        finally:
            self._depth -= 1

    def _pieces(self, container: Iterable[Element]) -> Iterator[Piece]:
        joined = ""
        for element in container:
            name = local(element)
            if name == "p":
                piece, joined = self._safely(element, joined)
                yield from piece
                yield from map(Piece, self._taken_asides())
            elif name == "tbl":
                yield from self._table_safely(element)
                yield from map(Piece, self._taken_asides())
            elif name in _WRAPPERS:
                yield from self.pieces(element)
            elif name == "AlternateContent":
                yield from self.pieces(next(children(element, "Choice", "Fallback"), element))
            elif name in {"oMath", "oMathPara"}:
                yield Piece(self._inline(_wrapped(element)))
            elif name == "altChunk":
                yield from self._chunk(element)
            elif name == "subDoc":
                self.shared.assembly.warn("data-left-out", "A document that is embedded in it is not read.")

    def _chunk(self, element: Element) -> Iterator[Piece]:
        """Yield a page, mail or text that stands for a part of the document, and that Word reads when it opens it."""
        relation = self.relation(element)
        data = self.shared.package.read(relation.target) if relation is not None and not relation.external else None
        found = chunk_of(relation.target, data, self.shared.options) if relation is not None and data else None
        if found is None:
            self.shared.assembly.warn("data-left-out", "A document that is embedded in it is not read.")
            return
        self.shared.assembly.warnings += found.warnings
        yield from pieces_of(found)

    def text(self, container: Element) -> str:
        """Return the text of blocks, a line each."""
        return "\n".join(piece.text for piece in self.pieces(container) if piece.text.strip())

    def _safely(self, element: Element, before: str) -> tuple[list[Piece], str]:
        try:
            return self._paragraph(element, before)
        except _ODD:
            self.shared.odd("A paragraph is not as it should be; its bare text is read.")
            return [Piece(before + _bare([element]))], ""

    def _table_safely(self, element: Element) -> Iterator[Piece]:
        try:
            found = list(table_pieces(self, element))
        except _ODD:
            self.shared.odd("A table is not as it should be; its bare text is read.")
            found = [Piece(_bare([element]))]
        yield from found

    def _paragraph(self, element: Element, before: str) -> tuple[list[Piece], str]:
        """Return a paragraph; its text alone where the mark at its end was deleted, which joins it with the next."""
        properties = child(element, "pPr")
        style = value_of(properties, "pStyle") or ""
        text = before + self._inline(element)
        mark = child(properties, "rPr")
        if any(True for _ in children(mark, "del", "moveFrom")) if mark is not None else False:
            return [], text
        if self.shared.styles.name(style).startswith("toc "):
            self.shared.assembly.warn("boilerplate-left-out", "Its table of contents is left out.")
            return [], ""
        place = self.shared.numbering.place(properties, style)
        label = self.shared.numbering.label(*place) if place else ""
        if not text.strip():
            return [], ""
        level = self._level(properties, style)
        title = self.shared.styles.name(style) == "title"
        if level:
            return [Piece(f"{label} {text}" if label not in {"", "-"} else text, level, is_title=title)], ""
        if place and label:
            return [Piece("  " * place[1] + f"{label} {text.strip()}", in_list=True)], ""
        return [Piece(text)], ""

    def _level(self, properties: Element | None, style: str) -> int:
        outline = value_of(properties, "outlineLvl")
        if outline is not None and outline.isdigit():
            return int(outline) + 1 if int(outline) < 9 else 0  # noqa: PLR2004 (body text)
        return self.shared.styles.heading_level(style) or 0

    def _inline(self, element: Element) -> str:
        inline = Inline(self._refer, self.shared.odd, self.shared.options.hidden, self.shared.styles.script)
        text = inline.text(element)
        self.shared.hidden += inline.hid
        return text

    def _refer(self, element: Element) -> str:
        """Return what stands in the text for a note, a link or a drawing; keep what follows the paragraph."""
        name = local(element)
        if name.endswith("Reference"):
            return self._note(element, name.removesuffix("Reference"))
        if name == "hyperlink":
            if relation_id(element) and self.relation(element) is None:
                self.shared.odd("The target of a link is not in the file; its text is read.")
            return self._inline(element)
        return self._drawing(element)

    def _note(self, element: Element, kind: str) -> str:
        key = (kind, attribute(element, "id") or "")
        if key not in self.shared.notes:
            self.shared.odd(f"The text of a {kind} is not in the file.")
            return ""
        if key in self._open_notes:
            return ""
        part, note = self.shared.notes[key]
        self._open_notes.add(key)
        story = Story(self.shared, part)
        story._open_notes = self._open_notes
        text = story.text(note)
        if kind == "comment":
            author = attribute(note, "author")
            self._asides.append(f"[comment{f' by {author}' if author else ''}: {text}]")
            return ""
        number = self.shared.numbers[kind] = self.shared.numbers.get(kind, 0) + 1
        label = f"[{'note' if kind == 'footnote' else kind} {number}]"
        self._asides.append(f"{label} {text}")
        return label

    def _drawing(self, element: Element) -> str:
        """Keep what a drawing says: its text boxes, diagrams, charts, what its pictures show."""
        package = self.shared.package
        shown = alternative_text(element)
        said = [self._boxes(element)]
        for diagram in members(element, "relIds"):
            relation = self._relations.get(attribute(diagram, "dm") or "")
            said.append(diagram_text(package, relation.target) if relation is not None else "")
        for chart in members(element, "chart"):
            relation = self.relation(chart)
            said.append(chart_text(package, relation.target) if relation is not None else "")
        for picture in embedded(element):
            known = self._relations.get(picture)
            inside = known if known is not None and (known.external or known.target in package) else None
            said.append(self.shared.pictures.text(inside))
        if members(element, "OLEObject"):
            self.shared.assembly.warn("data-left-out", "A document that is embedded in it is not read.")
        self._asides += [text for text in said if text.strip()]
        return shown

    def _boxes(self, element: Element) -> str:
        """Return the text of text boxes, of each the newest form; boxes within boxes come with them."""
        found: list[str] = []
        kept, self._asides = self._asides, []
        stack = [element]
        while stack:
            each = stack.pop()
            if local(each) == "txbxContent":
                found.append(self.text(each))
            elif local(each) == "AlternateContent":
                forms = [form for form in children(each, "Choice", "Fallback") if len(form)]
                stack += forms[:1]
            else:
                stack += reversed(each)
        self._asides = kept
        return "\n\n".join(filter(None, found))

    def _taken_asides(self) -> list[str]:
        taken, self._asides = self._asides, []
        return taken


def _wrapped(element: Element) -> Element:
    from lxml import etree

    wrapper = etree.Element("p")
    wrapper.append(element)
    return wrapper


def _bare(blocks: Iterable[Element]) -> str:
    """Return the text of blocks without walking them: a line each."""
    lines: list[str] = []
    for block in blocks:
        for each in block.iter():
            if local(each) == "p":
                lines.append("")
            elif local(each) == "t" and each.text:
                lines[-1:] = [(lines[-1] if lines else "") + each.text]
    return "\n".join(filter(None, lines))
