"""Made documents, documents of Debian's packages and inputs from the field, read by Footnote and by other tools."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from benchmarks.readers import made_office, made_pdf, made_web
from benchmarks.readers.asking import Answer, Kept, ask_all, hash_of
from benchmarks.readers.field import EXPECTED
from benchmarks.readers.packages import documents
from benchmarks.readers.report import Asked, report
from benchmarks.readers.truth import Truth

MADE: Mapping[str, Callable[[], tuple[bytes, Truth]]] = {
    "one-column.pdf": made_pdf.one_column,
    "two-columns.pdf": made_pdf.two_columns,
    "headers-and-footers.pdf": made_pdf.headers_and_footers,
    "ruled-table.pdf": made_pdf.ruled_table,
    "borderless-table.pdf": made_pdf.borderless_table,
    "document.docx": made_office.document,
    "merged-cells.docx": made_office.merged_cells,
    "slides.pptx": made_office.slides,
    "sheet.xlsx": made_office.sheet,
    "odd-sheet.xlsx": made_office.odd_sheet,
    "page.html": made_web.page,
    "book.epub": made_web.book,
    "document.odt": made_web.open_document,
    "values.csv": made_web.values,
}
MAKERS = [Path(__file__).with_name(name) for name in ("truth.py", "made_pdf.py", "made_office.py", "made_web.py")]


def run(options: argparse.Namespace) -> str:
    """Measure; return the tables."""
    with nullcontext(options.folder) if options.folder else tempfile.TemporaryDirectory() as folder:
        return _run(Path(folder), options)


def _run(folder: Path, options: argparse.Namespace) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    truths = _write(folder / f"made-{hash_of(MAKERS)}")
    real = documents(folder / "packages")
    field = sorted(path for path in options.data.rglob("*.*") if path.name in EXPECTED) if options.data else []
    paths = [*truths, *real, *field]
    kept = Kept(folder / "readers.jsonl")
    answers: dict[Path, dict[str, Answer]] = {path: {} for path in paths}
    for tool, path, answer in ask_all(paths, kept=kept, pythons=options.peers or [sys.executable]):
        answers[path][tool] = answer
    return _said(truths, real, field, answers)


def _write(folder: Path) -> dict[Path, Truth]:
    folder.mkdir(exist_ok=True)
    truths = {}
    for name, make in MADE.items():
        data, truths[folder / name] = make()
        if not (folder / name).exists():  # some have the time in their bytes, and answers are kept by those
            (folder / name).write_bytes(data)
    return truths


def _said(
    truths: Mapping[Path, Truth], real: Sequence[Path], field: Sequence[Path], answers: Mapping[Path, dict[str, Answer]]
) -> str:
    made = [Asked(path, answers[path], truth) for path, truth in truths.items()]
    tables = report(
        made,
        [Asked(path, answers[path]) for path in real],
        [Asked(path, answers[path]) for path in field],
        _page_counts([*truths, *real]),
    )
    versions = {tool: answer.version for of in answers.values() for tool, answer in of.items() if answer.version}
    return "\n\n".join([
        f"{len(made)} made documents, {len(real)} of Debian's packages, {len(field)} inputs from the field; "
        + ", ".join(f"{tool} {version}" for tool, version in versions.items()),
        tables,
    ])  # fmt: skip


def _page_counts(paths: Iterable[Path]) -> dict[Path, int]:
    import pypdfium2

    def count(path: Path) -> int:
        document: Any = pypdfium2.PdfDocument(path)
        pages = len(document)
        document.close()
        return pages

    return {path: count(path) for path in paths if path.suffix == ".pdf"}
