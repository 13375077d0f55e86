"""Excel workbooks from before 2007 (BIFF), with xlrd, which keeps their formats of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

from ingestion.errors import Unreadable
from ingestion.readers.assembly import Assembly, add_rows
from ingestion.readers.sheets.number_formats import GENERAL, general, shown, shown_text
from ingestion.readers.tables.blocks import Row, blocks
from ingestion.types import Extracted, ReadOptions

_NUMBER, _DATE, _BOOLEAN, _ERROR = 2, 3, 4, 5  # xlrd.XL_CELL_…


def read_xls(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a workbook's values, as last calculated and as its sheets show them.

    Raises:
        Unreadable: it is encrypted or damaged.

    """
    book = _opened(data)
    assembly = Assembly()
    hidden = 0
    for sheet in book.sheets():
        if sheet.visibility and not options.hidden:
            hidden += 1
            continue
        with assembly.section(sheet.name, 1):
            add_rows(assembly, blocks(_rows(book, sheet, assembly, options), presume=False), level=2)
    if hidden:
        assembly.warn("hidden-left-out", f"{hidden} hidden {'sheet is' if hidden == 1 else 'sheets are'} left out.")
    return assembly.extracted(name)


def _opened(data: bytes) -> Any:  # noqa: ANN401 (xlrd is untyped)
    import io

    import xlrd

    try:
        return xlrd.open_workbook(file_contents=data, formatting_info=True, logfile=io.StringIO())
    except Exception as exc:
        encrypted = "encrypt" in str(exc).lower()
        msg = "an encrypted Excel file; remove its password first" if encrypted else "a damaged Excel file"
        raise Unreadable(msg) from exc


def _rows(book: Any, sheet: Any, assembly: Assembly, options: ReadOptions) -> Iterator[Row]:  # noqa: ANN401
    hidden_columns = {at for at, info in sheet.colinfo_map.items() if info.hidden and not options.hidden}
    merged = _merged(sheet)
    left_out = 0
    for number in range(sheet.nrows):
        info = sheet.rowinfo_map.get(number)
        if info is not None and info.hidden and not options.hidden:
            left_out += any(sheet.row_values(number))
            continue
        kept = [at for at in range(sheet.ncols) if at not in hidden_columns]
        cells = tuple(_cell(book, sheet, *merged.get((number, at), (number, at))) for at in kept)
        filled = [at for at in kept if sheet.cell_type(number, at) not in {0, 6}]
        bold = bool(filled) and all(_is_bold(book, sheet, number, at) for at in filled)
        yield Row(number + 1, cells or ("",), marked=bold)
    if left_out:
        assembly.warn("hidden-left-out", f"Hidden rows of a sheet are left out: {left_out}.")
    if any(
        sheet.cell_type(row, at) not in {0, 6}
        for at in hidden_columns
        for row in range(sheet.nrows)
        if at < sheet.ncols
    ):
        assembly.warn("hidden-left-out", "Hidden columns of a sheet are left out.")


def _merged(sheet: Any) -> dict[tuple[int, int], tuple[int, int]]:  # noqa: ANN401
    """Return for each cell of a merged range the one that has its value."""
    return {
        (row, at): (top, left)
        for top, bottom, left, right in sheet.merged_cells[:10_000]
        for row in range(top, min(bottom, sheet.nrows))
        for at in range(left, min(right, sheet.ncols))
    }


def _cell(book: Any, sheet: Any, row: int, at: int) -> str:  # noqa: ANN401
    kind, value = sheet.cell_type(row, at), sheet.cell_value(row, at)
    code = _code(book, sheet, row, at)
    note = sheet.cell_note_map.get((row, at))
    text = _shown(kind, value, code, since_1904=bool(book.datemode))
    comment = f" [comment: {' '.join(note.text.split())}]" if note is not None and note.text.strip() else ""
    return " ".join(text.split()) + comment


def _shown(kind: int, value: Any, code: str, *, since_1904: bool) -> str:  # noqa: ANN401
    import xlrd

    if kind in {_NUMBER, _DATE}:
        return general(value) if code == GENERAL else shown(value, code, since_1904=since_1904)
    if kind == _BOOLEAN:
        return "TRUE" if value else "FALSE"
    if kind == _ERROR:
        return str(xlrd.error_text_from_code.get(value, "#ERROR"))
    return shown_text(str(value), code)


def _code(book: Any, sheet: Any, row: int, at: int) -> str:  # noqa: ANN401
    from ingestion.readers.sheets.number_formats import BUILT_IN

    try:
        key = book.xf_list[sheet.cell_xf_index(row, at)].format_key
        return BUILT_IN.get(key) or book.format_map[key].format_str or GENERAL
    except (LookupError, AttributeError):
        return GENERAL


def _is_bold(book: Any, sheet: Any, row: int, at: int) -> bool:  # noqa: ANN401
    try:
        return bool(book.font_list[book.xf_list[sheet.cell_xf_index(row, at)].font_index].bold)
    except (LookupError, AttributeError):
        return False
