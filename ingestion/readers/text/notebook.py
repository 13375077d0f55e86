"""Jupyter notebooks (nbformat 3 and 4): cells in their order, code in fences, what they printed below it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePath

from ingestion.readers.cleaning import clean
from ingestion.readers.data_uris import cut_data
from ingestion.readers.encodings.decoding import decode
from ingestion.readers.records.reader import read_json
from ingestion.readers.sections import counted, merged
from ingestion.readers.text.markdown import from_markdown
from ingestion.types import Extracted, ReadOptions, ReadWarning

MAX_OUTPUT = 4000  # characters of one output; logs of a training run say the same a thousand times
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class _Cells:
    """Writes cells; counts what is left out."""

    def __init__(self, language: str) -> None:
        self._language = language
        self.pictures = 0
        self.cut = 0

    def blocks(self, cells: list[object]) -> Iterator[str]:
        for cell in cells:
            if isinstance(cell, dict):
                yield from self._cell(cell)

    def _cell(self, cell: dict[str, object]) -> Iterator[str]:
        source = _joined(cell.get("source", cell.get("input"))).strip("\n")
        kind = cell.get("cell_type")
        if kind == "heading":
            level = cell.get("level")
            yield f"{'#' * (level if isinstance(level, int) and 0 < level < 7 else 1)} {source}"  # noqa: PLR2004
        elif kind == "code":
            if source.strip():
                yield _fenced(source, self._language)
            outputs = cell.get("outputs")
            for output in outputs if isinstance(outputs, list) else []:
                if isinstance(output, dict):
                    yield from self._output(output)
        elif source.strip():
            yield source

    def _output(self, output: dict[str, object]) -> Iterator[str]:
        data = output.get("data") if isinstance(output.get("data"), dict) else output
        assert isinstance(data, dict)  # noqa: S101 (for mypy; the line above makes it one)
        self.pictures += any(str(key).startswith("image/") or key in {"png", "jpeg", "svg"} for key in data)
        if output.get("output_type") in {"error", "pyerr"}:
            yield self._printed(f"{_joined(output.get('ename'))}: {_joined(output.get('evalue'))}")
        elif markdown := _joined(data.get("text/markdown")):
            yield markdown.strip("\n")
        elif text := _joined(data.get("text/plain", data.get("text"))):
            yield self._printed(text)

    def _printed(self, text: str) -> str:
        text = _ESCAPES.sub("", text).strip("\n")
        if len(text) > MAX_OUTPUT:
            self.cut += 1
            text = text[:MAX_OUTPUT] + "…"
        return _fenced(text, "") if text.strip() else ""


def read_notebook(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a notebook; what is none is read as JSON."""
    decoded = decode(data, language=options.language)
    try:
        book = json.loads(decoded.text.lstrip("\ufeff"))
        cells = book.get("cells") or [cell for sheet in book["worksheets"] for cell in sheet["cells"]]
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return read_json(name, data, options)
    writer = _Cells(_language(book))
    text = "\n\n".join(block for block in writer.blocks(cells if isinstance(cells, list) else []) if block.strip())
    text, cut = cut_data(clean(text))
    warnings = [*decoded.warnings, *cut]
    if writer.pictures:
        what = counted(writer.pictures, "picture of its output was", "pictures of its output were")
        warnings.append(ReadWarning("picture-not-read", f"{what} not read."))
    if writer.cut:
        what = counted(writer.cut, "output was", "outputs were")
        warnings.append(ReadWarning("truncated", f"{what} cut to {MAX_OUTPUT} characters."))
    return replace(from_markdown(text, title="", name=name), warnings=merged(warnings))


def _language(book: dict[str, object]) -> str:
    metadata = book.get("metadata")
    info = metadata.get("language_info") or metadata.get("kernelspec") if isinstance(metadata, dict) else None
    found = (info.get("name") or info.get("language")) if isinstance(info, dict) else None
    name = found if isinstance(found, str) and re.fullmatch(r"[\w+#.-]{1,20}", found) else "python"
    return re.sub(r"\d+$", "", name)


def _joined(value: object) -> str:
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _fenced(text: str, language: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"
