"""Excel workbooks: each sheet a heading, each row a paragraph of ``column: value`` lines; macros are never run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from ingestion.readers.assembly import Assembly, add_rows
from ingestion.readers.office.drawing_text import paragraphs_of
from ingestion.readers.office.ooxml import Package, local
from ingestion.readers.sheets.workbook import Sheet, Workbook
from ingestion.readers.sheets.worksheet import MAX_COLUMNS, Counts, SheetRows
from ingestion.readers.tables.blocks import blocks
from ingestion.types import Extracted, ReadOptions


def read_xlsx(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a workbook's values, as last calculated and as its sheets show them; a sheet is a heading.

    Raises:
        Unreadable: it is encrypted, damaged, or a zip bomb perhaps.

    """
    package = Package(data)
    workbook = Workbook(package)
    assembly = Assembly()
    hidden = [sheet for sheet in workbook.sheets if sheet.hidden and not options.hidden]
    for sheet in workbook.sheets:
        if sheet not in hidden:
            _add_sheet(assembly, workbook, sheet, options)
    if hidden:
        assembly.warn("hidden-left-out", f"{_counted(len(hidden), 'hidden sheet')} left out.")
    assembly.warnings += package.warnings
    return assembly.extracted(name, title=package.title())


def _add_sheet(assembly: Assembly, workbook: Workbook, sheet: Sheet, options: ReadOptions) -> None:
    rows = SheetRows(workbook, sheet.part, hidden=options.hidden)
    drawn = _drawn(workbook.package, sheet.part)
    with assembly.section(sheet.name, 1):
        add_rows(assembly, blocks(rows, presume=False), level=2)
        for text in drawn:
            assembly.paragraph(text)
    _say(assembly, rows.counts)


def _say(assembly: Assembly, counts: Counts) -> None:
    """Say what of a sheet is not as it was."""
    if counts.formulas:
        detail = f"{_counted(counts.formulas, 'formula')} shown as such: saved without a calculated value."
        assembly.warn("formulas-not-calculated", detail)
    if counts.hidden_rows:
        assembly.warn("hidden-left-out", f"{_counted(counts.hidden_rows, 'hidden row')} left out.")
    if counts.hidden_columns:
        assembly.warn("hidden-left-out", f"{_counted(counts.hidden_columns, 'cell')} in hidden columns left out.")
    if counts.cut_rows:
        detail = (
            f"{_counted(counts.cut_rows, 'row')} wider than {MAX_COLUMNS} columns; the columns beyond are left out."
        )
        assembly.warn("truncated", detail)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun} is" if number == 1 else f"{number} {noun}s are"


def _drawn(package: Package, part: str) -> Sequence[str]:
    """Return the texts of a sheet's text boxes, and the titles of its charts."""
    texts: list[str] = []
    for drawing in package.related(part, "drawing"):
        root = package.xml(drawing)
        bodies = [each for each in root.iter() if local(each) == "txBody"] if root is not None else []
        for chart in package.related(drawing, "chart"):
            chart_root = package.xml(chart)
            titles = (each for each in chart_root.iter() if local(each) == "title") if chart_root is not None else ()
            bodies += titles
        texts += ["\n".join(paragraphs_of(body)) for body in bodies]
    return [text for text in texts if text.strip()]
