"""Separated values: each row a paragraph of ``column: value`` lines, so that every chunk names its values."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePath
from typing import Protocol

from ingestion.errors import Unreadable
from ingestion.readers.assembly import Assembly, add_rows
from ingestion.readers.cleaning import clean
from ingestion.readers.encodings.decoding import decode
from ingestion.readers.tables.blocks import Row, blocks
from ingestion.types import Extracted, ReadOptions


class _Reader(Protocol):
    """What `csv.reader` returns, which has no name."""

    line_num: int

    def __iter__(self) -> Iterator[list[str]]: ...


_DELIMITERS = ",;\t|"
_SAMPLE = 50  # rows by which the delimiter is chosen
_SAMPLE_CHARS = 65_536
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?[ ,;\t]*(?:\n|\Z)', re.IGNORECASE)
_MOST_LINES = 1000  # of a quoted value; more is a quote that nobody closed


def read_csv(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read comma, semicolon, tab or bar separated values; Excel's line ``sep=;`` is believed.

    Raises:
        Unreadable: it is no text.

    """
    decoded = decode(data, language=options.language)
    text = clean(decoded.text)
    csv.field_size_limit(max(len(text), csv.field_size_limit()))
    told = _SEPARATOR_LINE.match(text)
    delimiter = told[1] if told else _delimiter(name, text)
    assembly = Assembly()
    assembly.warnings += decoded.warnings
    lines = text.split("\n")
    try:
        add_rows(assembly, blocks(_rows(lines, delimiter, int(bool(told)), assembly), presume=False), level=1)
    except csv.Error as exc:
        msg = "a damaged table"
        raise Unreadable(msg) from exc
    return assembly.extracted(name)


def _rows(lines: list[str], delimiter: str, start: int, assembly: Assembly) -> Iterator[Row]:
    """Yield the rows with the line on which each begins; a quote that is never closed is a sign like any other."""
    while start < len(lines):
        reader = _reader(lines, start, delimiter)
        at = start
        for cells in reader:
            begin, at = at, start + reader.line_num
            if at - begin > _MOST_LINES or (at >= len(lines) and at - begin > 1 and _unclosed(lines[begin:at])):
                detail = f"A quotation mark in line {begin + 1} is not closed; the line is read as it is."
                assembly.warn("part-unreadable", detail)
                yield Row(begin + 1, _cells(lines[begin].split(delimiter)))
                start = begin + 1
                break
            yield Row(begin + 1, _cells(cells))
        else:
            return


def _reader(lines: list[str], start: int, delimiter: str) -> _Reader:
    following = (f"{line}\n" for line in islice(lines, start, None))
    return csv.reader(following, delimiter=delimiter, skipinitialspace=True)


def _unclosed(lines: list[str]) -> bool:
    return sum(line.count('"') for line in lines) % 2 == 1


def _cells(cells: list[str]) -> tuple[str, ...]:
    return tuple(" ".join(cell.split()) for cell in cells) or ("",)


def _delimiter(name: PurePath, text: str) -> str:
    """Return the delimiter that cuts the most rows into equally many cells; a decimal comma cuts only some."""
    sample = text[:_SAMPLE_CHARS]
    scored = {delimiter: _score(sample, delimiter) for delimiter in _DELIMITERS}
    best = max(scored, key=lambda delimiter: scored[delimiter])
    if scored[best] > 0:
        return best
    return "\t" if name.suffix.lower() == ".tsv" else ","


def _score(sample: str, delimiter: str) -> float:
    """Weigh by the share of rows with the most usual number of cells, and by that number."""
    try:
        rows = list(islice(csv.reader(io.StringIO(sample, newline=""), delimiter=delimiter), _SAMPLE))
    except csv.Error:
        return 0
    counts = Counter(len(row) for row in rows if any(row))
    usual, often = max(counts.items(), key=lambda item: (item[0] > 1, item[1], item[0]), default=(0, 0))
    return often / counts.total() + min(usual, 50) / 200 if usual > 1 else 0
