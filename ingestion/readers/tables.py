"""Tables as text: each row is a paragraph of ``column: value`` lines, so that every chunk names its values."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.decoding import decode
from ingestion.readers.office import check_unpacked_size, document_title
from ingestion.types import Extracted, Heading, ReadOptions

MAX_COLUMNS = 1000
_SAMPLE = 16_384


def read_csv(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read comma, semicolon, tab or bar separated values."""
    decoded = decode(data, language=options.language)
    text = clean(decoded.text)
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    try:
        rows = csv.reader(io.StringIO(text, newline=""), _dialect(name, text))
        return Extracted("\n\n".join(_paragraphs(rows)), title=name_as_title(name), warnings=decoded.warnings)
    except csv.Error as exc:
        msg = "a damaged table"
        raise Unreadable(msg) from exc


def read_xlsx(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a workbook's values, as last calculated; a sheet is a heading."""
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    check_unpacked_size(data)
    try:
        workbook = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
    except (InvalidFileException, KeyError, ValueError, OSError) as exc:
        msg = "a damaged Excel file"
        raise Unreadable(msg) from exc
    parts: list[str] = []
    headings: list[Heading] = []
    length = 0
    for sheet in workbook.worksheets:
        rows = ([_shown(value) for value in row[:MAX_COLUMNS]] for row in sheet.iter_rows(values_only=True))
        body = clean("\n\n".join(_paragraphs(rows)))
        if not body:
            continue
        heading = one_line(sheet.title, limit=200) or "Sheet"
        headings.append(Heading(length, 1, heading))
        parts.append(f"# {heading}\n\n{body}\n\n")
        length += len(parts[-1])
    workbook.close()
    return Extracted("".join(parts), title=document_title(data) or name_as_title(name), headings=tuple(headings))


def _dialect(name: PurePath, text: str) -> type[csv.Dialect]:
    try:
        return csv.Sniffer().sniff(text[:_SAMPLE], delimiters=",;\t|")
    except csv.Error:  # one column, or an unknown delimiter
        return csv.excel_tab if name.suffix.lower() == ".tsv" else csv.excel


def _paragraphs(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield a paragraph for each row; the first row names the columns if it looks like a header."""
    filled = (row for row in rows if any(cell.strip() for cell in row))
    first = next(filled, None)
    if first is None:
        return
    columns = _columns(first)
    if columns is None:
        yield _paragraph([], first)
    else:
        second = next(filled, None)
        if second is None:  # only a header: index it as text
            yield "\n".join(columns)
            return
        yield _paragraph(columns, second)
    for row in filled:
        yield _paragraph(columns or [], row)


def _columns(row: Sequence[str]) -> list[str] | None:
    """Return the column names if the row looks like a header: different short words, no numbers."""
    names = [" ".join(cell.split()) for cell in row]
    given = [name for name in names if name]
    wordy = all(len(name) <= 100 and not _is_number(name) for name in given)  # noqa: PLR2004 (no name is longer)
    return names if wordy and len(set(given)) == len(given) and 2 * len(given) > len(names) else None


def _paragraph(columns: Sequence[str], row: Sequence[str]) -> str:
    lines = []
    for index, cell in enumerate(row):
        value = " ".join(cell.split())
        if value:
            column = columns[index] if index < len(columns) else ""
            lines.append(f"{column or f'column {index + 1}'}: {value}")
    return "\n".join(lines)


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 (a double's exact integers)
        return str(int(value))
    return str(value)
