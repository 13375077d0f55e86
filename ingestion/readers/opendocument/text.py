"""OpenDocument files (ISO/IEC 26300): the texts of ODT, the paragraphs and tables of all three kinds."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.assembly import Assembly, Piece, add_pieces, is_page_number
from ingestion.readers.cleaning import one_line
from ingestion.readers.html.mathml import mathml_text
from ingestion.readers.office.drawings import Pictures
from ingestion.readers.office.ooxml import Element, Package, Relation, attribute, child, children, local, xml_parser
from ingestion.readers.opendocument.numbers import Numbers
from ingestion.readers.scripts import subscript, superscript
from ingestion.readers.tables.table import as_markdown, tables_in
from ingestion.types import Extracted, ReadOptions

MAX_COLUMNS = 1000
_MOST_REPEATED = 200  # columns, or blanks
_LEFT_OUT_WORDS = """
tracked-changes sequence-decls forms user-field-decls variable-decls dde-connection-decls number bibliography-
source soft-page-break note-citation annotation-end change change-start change-end index-title-template
scripts settings shape-id title desc event-listeners ruby-text
"""
_LEFT_OUT = frozenset(_LEFT_OUT_WORDS.split())
_INDEXES = frozenset({"table-of-content", "alphabetical-index", "illustration-index", "table-index", "user-index"})
_ODD = (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RecursionError)


class OpenDocument:
    """The parts of a file, be it a package or one flat XML file.

    Raises:
        Unreadable: it is encrypted, damaged, or a zip bomb perhaps.

    """

    def __init__(self, data: bytes) -> None:
        self.package: Package | None = None
        if data.startswith(b"PK"):
            self.package = Package(data)
            manifest = self.package.read("META-INF/manifest.xml") or b""
            if b":encryption-data" in manifest:
                msg = "an encrypted OpenDocument file; remove its password first"
                raise Unreadable(msg)
            content = self.package.xml("content.xml")
            self.styles = self.package.xml("styles.xml")
            meta = self.package.xml("meta.xml")
        else:
            content = self.styles = meta = _flat(data)
        if content is None:
            msg = "a damaged OpenDocument file"
            raise Unreadable(msg)
        self.content: Element = content
        found = next((each.text for each in meta.iter() if local(each) == "title"), "") if meta is not None else ""
        self.title = one_line(found or "")

    def body(self, kind: str) -> Element:
        """Return the body of a kind of document: ``text``, ``spreadsheet``, ``presentation``."""
        found = child(self.content, "body", kind)
        if found is None:
            msg = "an OpenDocument file without content"
            raise Unreadable(msg)
        return found

    def embedded(self, reference: str) -> Element | None:
        """Return the root of an embedded object: a formula, a chart."""
        folder = posixpath.normpath(reference)
        return self.package.xml(f"{folder}/content.xml") if self.package is not None else None


@dataclass
class Walk:
    """Reads the blocks of a document in order, and counts its headings and lists."""

    document: OpenDocument
    assembly: Assembly
    options: ReadOptions
    pictures: Pictures
    numbers: Numbers = field(default_factory=Numbers)
    scripts: dict[str, str] = field(default_factory=dict)
    hidden: set[str] = field(default_factory=set)
    _asides: list[str] = field(default_factory=list)
    _notes: int = 0

    def __post_init__(self) -> None:
        for root in (self.document.styles, self.document.content):
            if root is not None:
                self.numbers.load(root)
                self._load_styles(root)

    def _load_styles(self, root: Element) -> None:
        for style in (each for each in root.iter() if local(each) == "style"):
            properties = child(style, "text-properties")
            place = (attribute(properties, "text-position") or "").split()
            if place and (place[0] in {"super", "sub"} or place[0].rstrip("%").lstrip("-").isdigit()):
                low = place[0] == "sub" or place[0].startswith("-")
                self.scripts[attribute(style, "name") or ""] = "sub" if low else "super"
            if attribute(properties, "display") == "none":
                self.hidden.add(attribute(style, "name") or "")

    def pieces(self, container: Iterable[Element]) -> Iterator[Piece]:
        """Yield the blocks; of one that is too odd, its bare text."""
        for element in container:
            try:
                found = list(self._block(element, local(element)))
            except _ODD:
                self.assembly.warn("part-unreadable", "A block is not as it should be; its bare text is read.")
                found = [Piece("".join(element.itertext()))]
            yield from found

    def text(self, container: Iterable[Element]) -> str:
        """Return the text of blocks, a line each."""
        return "\n".join(piece.text for piece in self.pieces(container) if piece.text.strip())

    def _block(self, element: Element, name: str) -> Iterator[Piece]:
        if name == "h":
            yield from self._heading(element)
        elif name == "p":
            yield from self._with_asides(Piece(self.line(element)))
        elif name == "list":
            yield from self._list(element, 1, attribute(element, "style-name"))
        elif name == "table":
            yield Piece(self.table(element))
            yield from map(Piece, self.taken_asides())
        elif name in _INDEXES:
            self.assembly.warn("boilerplate-left-out", "Its table of contents, or index, is left out.")
        elif name in {"frame", "custom-shape", "rect", "g", "a"}:
            self._drawing(element)
            yield from map(Piece, self.taken_asides())
        elif name not in _LEFT_OUT:
            yield from self.pieces(element)

    def _heading(self, element: Element) -> Iterator[Piece]:
        level = attribute(element, "outline-level") or "1"
        depth = int(level) if level.isdigit() and len(level) < 3 else 1  # noqa: PLR2004 (digits)
        own = child(element, "number")
        label = (own.text or "") if own is not None else self.numbers.heading(depth)
        text = self.line(element)
        yield from self._with_asides(Piece(f"{label} {text}".strip() if text.strip() else "", max(depth, 1)))

    def _with_asides(self, piece: Piece) -> Iterator[Piece]:
        if piece.text.strip():
            yield piece
        yield from map(Piece, self.taken_asides())

    def _list(self, element: Element, level: int, style: str | None) -> Iterator[Piece]:
        self.numbers.begin(element, style, level)
        for item in children(element, "list-item", "list-header"):
            label = self.numbers.item(style, level, item) if local(item) == "list-item" else ""
            for each in item:
                if local(each) == "list":
                    yield from self._list(each, level + 1, attribute(each, "style-name") or style)
                elif local(each) == "h":
                    yield from self._heading(each)
                elif local(each) == "p":
                    text = self.line(each)
                    if text.strip():
                        yield Piece("  " * (level - 1) + f"{label} {text}".strip(), in_list=True)
                        label = " " * len(label)
                    yield from map(Piece, self.taken_asides())
                elif local(each) != "number":
                    yield from self._block(each, local(each))

    def line(self, element: Element) -> str:
        """Return the text of a paragraph; what is anchored in it follows it."""
        parts: list[str] = []
        self._inline(element, parts)
        return "".join(parts)

    def _inline(self, element: Element, parts: list[str]) -> None:
        parts.append(_blanks_joined(element.text))
        for each in element:
            self._inline_part(each, local(each), parts)
            parts.append(_blanks_joined(each.tail))

    def _inline_part(self, each: Element, name: str, parts: list[str]) -> None:
        if name == "s":
            parts.append(" " * min(int(attribute(each, "c") or 1), _MOST_REPEATED))
        elif name in {"tab", "line-break"}:
            parts.append("\t" if name == "tab" else "\n")
        elif name == "span":
            self._span(each, parts)
        elif name == "note":
            parts.append(self._note(each))
        elif name == "annotation":
            self._annotation(each)
        elif name in {"frame", "custom-shape", "rect", "g"}:
            parts.append(self._drawing(each))
        elif name == "hidden-text":
            self.assembly.warn("hidden-left-out", "Text formatted as hidden is left out.")
        elif name == "ruby":
            bases = (self.line(base) for base in children(each, "ruby-base"))
            hints = (f"({self.line(hint)})" for hint in children(each, "ruby-text"))
            parts += [*bases, *hints]
        elif name not in _LEFT_OUT:
            self._inline(each, parts)

    def _span(self, span: Element, parts: list[str]) -> None:
        style = attribute(span, "style-name") or ""
        if style in self.hidden and not self.options.hidden:
            self.assembly.warn("hidden-left-out", "Text formatted as hidden is left out.")
            return
        if style not in self.scripts:
            self._inline(span, parts)
            return
        before = "".join(parts[-3:])
        parts.append((superscript if self.scripts[style] == "super" else subscript)(self.line(span), before))

    def _note(self, note: Element) -> str:
        self._notes += 1
        label = f"[note {self._notes}]"
        body = child(note, "note-body")
        if body is not None:
            self._keep(f"{label} {self._apart(body)}")
        return label

    def _annotation(self, element: Element) -> None:
        creator = next((each.text for each in children(element, "creator") if each.text), "")
        text = " ".join(self.line(each) for each in element.iter() if local(each) == "p")
        if text.strip():
            self._asides.append(f"[comment{f' by {creator}' if creator else ''}: {text}]")

    def _drawing(self, element: Element) -> str:
        """Keep what a drawing says; return what stands in the text for it: a formula, a description."""
        shown = " ".join((each.text or "").strip() for each in children(element, "desc") if (each.text or "").strip())
        for each in element:
            inner = local(each)
            if inner == "object":
                return self._object(each) or shown
            if inner == "image":
                self._keep(self._picture(each))
            elif inner == "object-ole":
                self.assembly.warn("data-left-out", "A document that is embedded in it is not read.")
            elif inner in {"text-box", "table"}:
                self._keep(self._apart(each))
            elif inner in {"frame", "custom-shape", "rect", "g"}:
                shown = f"{shown} {self._drawing(each)}".strip()
            elif inner in {"p", "list"}:
                self._keep(self._apart(each))
        return shown

    def _keep(self, text: str) -> None:
        """Keep a text for below the paragraph in which it is anchored."""
        if text.strip():
            self._asides.append(text)

    def _apart(self, block: Element) -> str:
        """Return the text of a block with what is anchored in it, apart from what was kept before."""
        kept, self._asides = self._asides, []
        text = "\n".join(piece.text for piece in self._block(block, local(block)) if piece.text.strip())
        self._asides = kept
        return text

    def _picture(self, image: Element) -> str:
        reference = attribute(image, "href") or ""
        external = "://" in reference
        if not reference:
            return ""
        return self.pictures.text(Relation("image", posixpath.normpath(reference), external))

    def _object(self, element: Element) -> str:
        """Return a formula's text; a chart's data is kept for below the paragraph."""
        root = child(element, "math")
        if root is None and (reference := attribute(element, "href")):
            root = self.document.embedded(reference)
        if root is None:
            return ""
        if local(root) == "math":
            return mathml_text(root)
        titles = [self.text(each) for each in root.iter() if local(each) == "title" and len(each)]
        tables = [self.table(each) for each in root.iter() if local(each) == "table"]
        self._keep("\n\n".join(filter(None, [*titles, *tables])))
        return ""

    def table(self, element: Element) -> str:
        """Return a table as Markdown, merged cells filled."""
        rows: list[list[str]] = []
        headers = 0
        covered: dict[int, tuple[int, str]] = {}
        for row, in_header in _table_rows(element):
            headers += in_header and headers == len(rows)
            rows.append(self._cells(row, covered))
        found = tables_in(rows, header_rows=headers if 0 < headers < len(rows) else None)
        return "\n\n".join(as_markdown(each) for each in found if each.columns or each.rows)

    def _cells(self, row: Element, covered: dict[int, tuple[int, str]]) -> list[str]:
        cells: list[str] = []
        for cell in children(row, "table-cell", "covered-table-cell"):
            repeated = _count(cell, "number-columns-repeated")
            text = self.text(cell)
            if local(cell) == "covered-table-cell" and not text:
                for _ in range(min(repeated, _MOST_REPEATED)):
                    left, value = covered.get(len(cells), (0, ""))
                    covered[len(cells)] = (left - 1, value) if left > 0 else (0, "")
                    cells.append(value if left > 0 else (cells[-1] if cells else ""))
                continue
            down, across = _count(cell, "number-rows-spanned"), _count(cell, "number-columns-spanned")
            for _ in range(min(repeated, _MOST_REPEATED if text else 1, MAX_COLUMNS - len(cells))):
                for at in range(len(cells), len(cells) + min(across, _MOST_REPEATED)):
                    covered[at] = (down - 1, text)
                cells.append(text)
        return cells

    def taken_asides(self) -> list[str]:
        """Return the texts that were anchored in what was read last, and forget them."""
        taken, self._asides = self._asides, []
        return [each for each in taken if each.strip()]


def read_odt(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read an OpenDocument text; headings come from its outline, with their numbers.

    Raises:
        Unreadable: it is encrypted, damaged, or a zip bomb perhaps.

    """
    document = OpenDocument(data)
    assembly = Assembly()
    walk = walk_of(document, assembly, options)
    _add_frames(assembly, walk, "header")
    title = add_pieces(assembly, walk.pieces(document.body("text")))
    _add_frames(assembly, walk, "footer")
    return finished(assembly, walk, name, title)


def walk_of(document: OpenDocument, assembly: Assembly, options: ReadOptions) -> Walk:
    """Return a walk over a document."""
    return Walk(document, assembly, options, Pictures(document.package, options, assembly))


def finished(assembly: Assembly, walk: Walk, name: PurePath, title: str) -> Extracted:
    """Return what was read, with all that is to be said of it."""
    walk.pictures.say()
    if walk.document.package is not None:
        assembly.warnings += walk.document.package.warnings
    return assembly.extracted(name, title=walk.document.title or title)


def _add_frames(assembly: Assembly, walk: Walk, kind: str) -> None:
    """Add the headers, or footers, of all pages: each text once, without page numbers."""
    seen: set[str] = set()
    masters = child(walk.document.styles, "master-styles")
    for frame in masters.iter() if masters is not None else ():
        if local(frame) in {kind, f"{kind}-left", f"{kind}-first"} and attribute(frame, "display") != "false":
            text = walk.text(frame)
            if text not in seen and not is_page_number(text):
                seen.add(text)
                assembly.paragraph(text)


def _flat(data: bytes) -> Element:
    from lxml import etree

    try:
        return etree.fromstring(data, xml_parser())
    except etree.XMLSyntaxError as exc:
        msg = "a damaged OpenDocument file"
        raise Unreadable(msg) from exc


def _table_rows(element: Element, *, in_header: bool = False) -> Iterator[tuple[Element, bool]]:
    for each in element:
        name = local(each)
        if name == "table-row":
            yield each, in_header
        elif name in {"table-header-rows", "table-rows", "table-row-group"}:
            yield from _table_rows(each, in_header=in_header or name == "table-header-rows")


def _count(element: Element, name: str) -> int:
    text = attribute(element, name) or "1"
    return int(text) if text.isascii() and text.isdigit() and 0 < len(text) <= 7 else 1  # noqa: PLR2004 (digits)


def _blanks_joined(text: str | None) -> str:
    """Return text as OpenDocument has it: several blanks and line ends in XML are one blank."""
    if not text:
        return ""
    joined = " ".join(text.split())
    return f"{' ' if text[0].isspace() else ''}{joined}{' ' if text[-1].isspace() and joined else ''}"
