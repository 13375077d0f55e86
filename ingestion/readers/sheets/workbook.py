"""What a workbook's cells are read with: its strings, formats and sheets (ECMA-376 part 1, 18)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ingestion.readers.office.ooxml import Element, Package, attribute, child, children, forget, local
from ingestion.readers.scripts import subscript, superscript
from ingestion.readers.sheets.number_formats import BUILT_IN, GENERAL, is_date


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet: its name, its part, and whether it is hidden."""

    name: str
    part: str
    hidden: bool


@dataclass(frozen=True, slots=True)
class Style:
    """How a cell is shown: its format's code, whether that is of dates, and whether it is set in bold."""

    code: str = GENERAL
    date: bool = False
    bold: bool = False


_PLAIN = Style()


@dataclass
class Workbook:
    """A workbook's parts, each read when it is needed."""

    package: Package
    main: str = field(init=False)

    def __post_init__(self) -> None:
        self.main = self.package.main("xl/workbook.xml")
        self.root = self.package.xml(self.main)

    @cached_property
    def since_1904(self) -> bool:
        """Whether days are counted from 1904 instead of 1900."""
        return attribute(child(self.root, "workbookPr"), "date1904") in {"1", "true", "on"}

    @cached_property
    def sheets(self) -> list[Sheet]:
        """The sheets with cells, in order; those that the workbook does not list if it is damaged."""
        relations = self.package.relations(self.main)
        found: list[Sheet] = []
        listed = child(self.root, "sheets")
        for element in children(listed, "sheet") if listed is not None else ():
            ids = (value for key, value in element.items() if key.rpartition("}")[2] == "id" and key != "id")
            relation = relations.get(next(ids, ""))
            name = element.get("name") or "Sheet"
            if relation is None or relation.target not in self.package:
                self.package.damaged(f"of sheet {len(found) + 1}")
            elif relation.kind == "worksheet":
                found.append(Sheet(name, relation.target, element.get("state") in {"hidden", "veryHidden"}))
        parts = self.package.parts("xl/worksheets/sheet")
        return found or [Sheet(f"Sheet {at}", part, hidden=False) for at, part in enumerate(parts, 1)]

    @cached_property
    def strings(self) -> list[str]:
        """The shared strings, without their phonetic hints."""
        from lxml import etree

        part = next(iter(self.package.related(self.main, "sharedStrings")), "xl/sharedStrings.xml")
        strings: list[str] = []
        if part not in self.package:
            return strings
        with self.package.open(part) as stream:
            try:
                for _, item in etree.iterparse(stream, tag="{*}si", resolve_entities=False, huge_tree=True):
                    strings.append(rich_text(item))
                    forget(item)
            except (etree.XMLSyntaxError, OSError, EOFError, ValueError):
                self.package.damaged(part)
        return strings

    @cached_property
    def styles(self) -> list[Style]:
        """The formats that cells refer to by their place."""
        part = next(iter(self.package.related(self.main, "styles")), "xl/styles.xml")
        root = self.package.xml(part)
        listed = child(root, "numFmts")
        codes = dict(BUILT_IN)
        for element in children(listed, "numFmt") if listed is not None else ():
            codes[_number(element.get("numFmtId"))] = element.get("formatCode") or GENERAL
        fonts = [_is_bold(font) for font in _all(root, "fonts", "font")]
        return [_style(element, codes, fonts) for element in _all(root, "cellXfs", "xf")]

    def style(self, index: int) -> Style:
        """Return a cell's style; the plain one if there is none."""
        return self.styles[index] if 0 <= index < len(self.styles) else _PLAIN


def rich_text(item: Element) -> str:
    """Return the text of a string with its runs, raised and lowered ones marked."""
    if len(item) == 1 and local(item[0]) == "t":
        return item[0].text or ""
    shown = ""
    for run in children(item, "r", "t"):
        text = (run.text if local(run) == "t" else run.findtext("{*}t")) or ""
        placed = attribute(child(run, "rPr", "vertAlign"), "val")
        if placed in {"superscript", "subscript"}:
            text = (superscript if placed == "superscript" else subscript)(text, shown)
        shown += text
    return shown


def _all(root: Element | None, group: str, name: str) -> Iterator[Element]:
    listed = child(root, group)
    return children(listed, name) if listed is not None else iter(())


def _is_bold(font: Element) -> bool:
    bold = child(font, "b")
    return bold is not None and attribute(bold, "val") not in {"0", "false"}


def _style(element: Element, codes: dict[int, str], fonts: Sequence[bool]) -> Style:
    code = codes.get(_number(element.get("numFmtId")), GENERAL)
    font = _number(element.get("fontId"))
    return Style(code, is_date(code), bold=0 <= font < len(fonts) and fonts[font])


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else -1  # noqa: PLR2004 (digits)
