"""Diagrams, charts and pictures in Office files (DrawingML, ECMA-376 part 1, 20 and 21)."""

from __future__ import annotations

from collections.abc import Iterator

from ingestion.readers.assembly import Assembly
from ingestion.readers.office.drawing_text import paragraphs_of
from ingestion.readers.office.ooxml import Element, Package, Relation, attribute, child, local
from ingestion.readers.tables.table import Table, as_markdown
from ingestion.types import ReadOptions

_MOST_POINTS = 5000
_SURE = 0.5  # confidence of OCR below which its text is left out


def diagram_text(package: Package, part: str) -> str:
    """Return the texts of a diagram (SmartArt), a line each."""
    root = _xml(package, part)
    points = (each for each in root.iter() if local(each) == "pt") if root is not None else ()
    bodies = (child(point, "t") for point in points if point.get("type") not in {"pres", "parTrans", "sibTrans"})
    return "\n".join(
        "- " + " ".join(paragraphs_of(body)) for body in bodies if body is not None and paragraphs_of(body)
    )


def chart_text(package: Package, part: str) -> str:
    """Return a chart's title and its data as a table: a row for each category, a column for each series."""
    root = _xml(package, part)
    chart = child(root, "chart")
    if chart is None:
        return ""
    title = child(chart, "title")
    caption = " ".join(paragraphs_of(title)) if title is not None else ""
    axes = [" ".join(paragraphs_of(each)) for each in chart.iter() if local(each) == "title" and each is not title]
    named = [axis for axis in axes if axis]
    series = [each for each in chart.iter() if local(each) == "ser"]
    table = _chart_table(series, caption)
    shown = as_markdown(table) if table.rows else caption
    return "\n\n".join(filter(None, [shown, *named]))


def _xml(package: Package, part: str) -> Element | None:
    """Return the root of a part that a drawing refers to; say it if the part is not there."""
    if part not in package:
        package.missing(part)
    return package.xml(part)


class Pictures:
    """The pictures of a document: read by OCR if that is asked for and there, else counted."""

    def __init__(self, package: Package | None, options: ReadOptions, assembly: Assembly) -> None:
        self._package = package
        self._wanted = options.pictures and options.ocr
        self._left = options.ocr_pages
        self._assembly = assembly
        self._seen: dict[str, str] = {}
        self._unread: set[str] = set()

    def text(self, relation: Relation | None) -> str:
        """Return what a picture says; nothing if it is not read. The same picture is read once."""
        if relation is None:
            detail = "A picture is not in the file, which only refers to it."
            self._assembly.warn("part-unreadable", detail)
            return ""
        if relation.target not in self._seen:
            self._seen[relation.target] = self._read(relation)
            return self._seen[relation.target]
        return ""

    def say(self) -> None:
        """Say how many pictures were not read."""
        if self._unread:
            count = len(self._unread)
            what = "1 picture is" if count == 1 else f"{count} pictures are"
            self._assembly.warn("picture-not-read", f"{what} not read; alternative texts are kept.")

    def _read(self, relation: Relation) -> str:
        from ingestion.errors import Unreadable

        data = None if relation.external or self._package is None else self._package.read(relation.target)
        if data is None or not self._wanted or self._left <= 0:
            self._unread.add(relation.target)
            return ""
        self._left -= 1
        try:
            text, confidence = _ocr(data)
        except (Unreadable, ImportError):
            self._unread.add(relation.target)
            return ""
        if text.strip() and confidence >= _SURE:
            self._assembly.warn("read-by-ocr", "Text in pictures is read by OCR, which makes mistakes.")
            return text
        return ""


def _ocr(data: bytes) -> tuple[str, float]:
    from importlib import import_module

    text, confidence = import_module("ingestion.readers.pictures.text").read_picture(data)
    return str(text), float(confidence)


def _chart_table(series: list[Element], caption: str) -> Table:
    names: list[str] = []
    columns: list[dict[int, str]] = []
    categories: dict[int, str] = {}
    for place, each in enumerate(series):
        names.append(next(iter(_points(child(each, "tx")).values()), f"Series {place + 1}"))
        columns.append(_points(child(each, "val")) or _points(child(each, "yVal")))
        categories |= _points(child(each, "cat")) or _points(child(each, "xVal"))
    places = sorted(set(categories).union(*columns))[:_MOST_POINTS]
    rows = tuple((categories.get(at, str(at + 1)), *(column.get(at, "") for column in columns)) for at in places)
    return Table(("", *names), rows, caption=caption)


def _points(element: Element | None) -> dict[int, str]:
    """Return the values that a chart keeps of its cells, of several levels the innermost."""
    if element is None:
        return {}
    levels = [each for each in element.iter() if local(each) == "lvl"]
    found = _values(levels[0] if levels else element)
    if not found and (plain := child(element, "v")) is not None:
        return {0: plain.text or ""}
    return found


def _values(element: Element) -> dict[int, str]:
    values: dict[int, str] = {}
    for point in (each for each in element.iter() if local(each) == "pt"):
        index, value = attribute(point, "idx") or "", child(point, "v")
        if index.isascii() and index.isdigit() and len(index) <= 6 and value is not None:  # noqa: PLR2004 (digits)
            values[int(index)] = _rounded(" ".join((value.text or "").split()))
    return values


def _rounded(text: str) -> str:
    """Return a number as a spreadsheet has it: 0.1 for 0.10000000000000001."""
    try:
        return f"{float(text):.15g}" if "." in text else text
    except ValueError:
        return text


def alternative_text(element: Element) -> str:
    """Return a drawing's description, else nothing; names such as ``Picture 3`` are none."""
    found = next(iter(_descriptions(element)), "")
    return " ".join(found.split())


def _descriptions(element: Element) -> Iterator[str]:
    for each in element.iter():
        if local(each) in {"docPr", "cNvPr"} and (each.get("descr") or each.get("title")):
            yield each.get("descr") or each.get("title")


def embedded(element: Element) -> list[str]:
    """Return the ids of relationships to the pictures in a drawing."""
    ids = (attribute(each, "embed") or attribute(each, "link") for each in element.iter() if local(each) == "blip")
    older = (attribute(each, "id") for each in element.iter() if local(each) == "imagedata")
    return [found for found in [*ids, *older] if found]


def members(element: Element, name: str) -> list[Element]:
    """Return all elements of a local name below an element."""
    return [each for each in element.iter() if local(each) == name]
