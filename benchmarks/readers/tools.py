"""The tools that turn a file into text, each in a process of its own.

``python tools.py TOOL`` reads paths and writes JSON. It is run by the Python that has the tool's library, so only the
standard library is imported on top. Tools are asked for Markdown where they can make it.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeAlias

Texts: TypeAlias = "str | list[str]"  # of the whole, or of each page
_SLIDE = re.compile(r"<!-- Slide number: \d+ -->")
_MENUS = ("sphinxsidebar", "related", "navheader", "navfooter")  # classes of Sphinx's and DocBook's pages
_CLEAR_PEAK = "5"  # proc(5): resets the peak resident set size


@dataclass(frozen=True)
class Tool:
    """A tool.

    Attributes:
        kinds: endings of the files that it reads.
        read: returns a file's text, or the texts of its pages.
        package: whose version is shown; a program's otherwise.
        install: how to get it.

    """

    kinds: str
    read: Callable[[Path], Texts]
    package: str
    install: str


def _footnote(path: Path) -> Texts:
    from ingestion.readers import read
    from ingestion.types import ReadOptions

    found = read(path, data=path.read_bytes(), options=ReadOptions())
    ends = [*found.pages[1:], len(found.text)]
    return [found.text[start:end] for start, end in zip(found.pages, ends, strict=True)] if found.pages else found.text


def _markitdown(path: Path) -> Texts:
    from markitdown import MarkItDown

    text = str(MarkItDown(enable_plugins=False).convert_local(str(path)).text_content)
    return _SLIDE.split(text)[1:] if path.suffix == ".pptx" else text


def _pandoc(path: Path) -> Texts:
    from pypandoc import get_pandoc_path

    return _output([get_pandoc_path(), "--to=gfm-raw_html", "--wrap=none", str(path)])


def _pdftotext(path: Path) -> Texts:
    return _output(["pdftotext", str(path), "-"]).removesuffix("\f").split("\f")


def _pdftotext_layout(path: Path) -> Texts:
    return _output(["pdftotext", "-layout", str(path), "-"]).removesuffix("\f").split("\f")


def _pypdf(path: Path) -> Texts:
    from pypdf import PdfReader

    return [page.extract_text() for page in PdfReader(path).pages]


def _pdfplumber(path: Path) -> Texts:
    import pdfplumber

    with pdfplumber.open(path) as document:
        return ["\n\n".join([page.extract_text(), *map(_pipes, page.extract_tables())]) for page in document.pages]


def _pipes(rows: list[list[str | None]]) -> str:
    return "\n".join("| " + " | ".join(" ".join((cell or "").split()) for cell in row) + " |" for row in rows)


def _trafilatura(path: Path) -> Texts:
    from trafilatura import extract

    return extract(path.read_bytes(), output_format="markdown", include_tables=True) or ""


def _mammoth(path: Path) -> Texts:
    import mammoth

    with path.open("rb") as file:
        return str(mammoth.convert_to_markdown(file).value)


def _docling(path: Path) -> Texts:
    from docling.document_converter import DocumentConverter

    return str(DocumentConverter().convert(path).document.export_to_markdown())


def _python_docx(path: Path) -> Texts:
    import docx
    from docx.table import Table

    return "\n\n".join(
        _pipes([[cell.text for cell in row.cells] for row in part.rows]) if isinstance(part, Table) else part.text
        for part in docx.Document(str(path)).iter_inner_content()
    )


def _python_pptx(path: Path) -> Texts:
    from pptx import Presentation

    return ["\n".join(map(_of_shape, slide.shapes)) for slide in Presentation(str(path)).slides]


def _of_shape(shape: object) -> str:
    if getattr(shape, "has_table", False):
        return _pipes([[cell.text for cell in row.cells] for row in shape.table.rows])  # type: ignore[attr-defined]
    return str(shape.text_frame.text) if getattr(shape, "has_text_frame", False) else ""  # type: ignore[attr-defined]


def _openpyxl(path: Path) -> Texts:
    from openpyxl import load_workbook

    sheets = load_workbook(path, data_only=True).worksheets
    return "\n\n".join(
        _pipes([[None if value is None else str(value) for value in row] for row in sheet.iter_rows(values_only=True)])
        for sheet in sheets
    )


def tagged_text(path: Path) -> str:
    """Return the text between the tags of a page, less scripts, styles and navigation, or of the XML in a document."""
    if path.suffix in {".html", ".htm"}:
        return _of_tags(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        return "\n".join(_of_tags(archive.read(name)) for name in _content(path.suffix, archive.namelist()))


def _content(ending: str, names: list[str]) -> list[str]:
    patterns = {
        ".docx": r"word/(document|footnotes|endnotes)\.xml",
        ".pptx": r"ppt/(slides/slide|diagrams/data|notesSlides/notesSlide)\d+\.xml",
        ".epub": r".*\.x?html?",
        ".odt": r"content\.xml",
    }
    found = [name for name in names if re.fullmatch(patterns[ending], name)]
    return sorted(found, key=lambda name: [int(part) for part in re.findall(r"\d+", name)] or [0])


def _of_tags(data: bytes) -> str:
    from lxml import etree, html

    root = html.document_fromstring(re.sub(rb"<\?xml[^>]*\?>", b"", data), parser=html.HTMLParser(encoding="utf-8"))
    for element in [*root.iter("script", "style", "title", "template", etree.Comment)]:
        element.drop_tree()
    menus = [element for name in _MENUS for element in root.find_class(name)]
    for element in [*root.iter("nav", "header", "footer"), *menus]:
        if element.getparent() is not None:
            element.drop_tree()
    inline = {"a", "b", "i", "em", "strong", "code", "span", "tt", "sup", "sub", "text:span", "text:a", "w:t", "w:r",
              "a:t", "a:r", "abbr", "kbd", "var", "q", "acronym", "cite", "small", "del", "ins", "u"}  # fmt: skip
    for element in root.iter():
        if isinstance(element.tag, str) and element.tag not in inline:
            element.text = f"\n{element.text or ''}"
            element.tail = f"\n{element.tail or ''}"
    return str(root.text_content())


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip()[:200])
    return done.stdout.decode(errors="replace")


TOOLS: Mapping[str, Tool] = {
    "Footnote": Tool("*", _footnote, "", ""),
    "markitdown": Tool(
        "pdf docx pptx xlsx html epub csv ipynb msg json jsonl md",
        _markitdown,
        "markitdown",
        "pip install 'markitdown[pdf,docx,pptx,xlsx,outlook]'",
    ),
    "pandoc": Tool("docx odt epub html csv rtf ipynb md", _pandoc, "pypandoc_binary", "pip install pypandoc_binary"),
    "docling": Tool(
        "docx pptx xlsx html csv",
        _docling,
        "docling-slim",
        "pip install 'docling-slim[format-office,format-web,convert-core]' torch transformers",
    ),
    "pdftotext": Tool("pdf", _pdftotext, "", "apt-get install poppler-utils"),
    "pdftotext -layout": Tool("pdf", _pdftotext_layout, "", "apt-get install poppler-utils"),
    "pypdf": Tool("pdf", _pypdf, "pypdf", "pip install pypdf"),
    "pdfplumber": Tool("pdf", _pdfplumber, "pdfplumber", "pip install pdfplumber"),
    "trafilatura": Tool("html", _trafilatura, "trafilatura", "pip install trafilatura lxml_html_clean"),
    "mammoth": Tool("docx", _mammoth, "mammoth", "pip install mammoth"),
    "python-docx": Tool("docx", _python_docx, "python-docx", "pip install python-docx"),
    "python-pptx": Tool("pptx", _python_pptx, "python-pptx", "pip install python-pptx"),
    "openpyxl": Tool("xlsx", _openpyxl, "openpyxl", "pip install openpyxl"),
    "tags stripped": Tool("html epub odt docx pptx", tagged_text, "lxml", "pip install lxml"),
}


_FAMILIES = ({"markitdown", "pdfplumber", "mammoth"}, {"pdftotext", "pdftotext -layout"}, {"python-docx", "docling"})


def family(tool: str) -> str:
    """Return what a tool's text rests on: pdfminer and mammoth, poppler, python-docx, or the tool itself."""
    return next((" ".join(sorted(tools)) for tools in _FAMILIES if tool in tools), tool)


def reads(tool: str, path: Path) -> bool:
    """Say whether a tool is asked about a file."""
    kinds = TOOLS[tool].kinds
    return kinds == "*" or path.suffix[1:] in kinds.split()


def _version(tool: Tool) -> str:
    try:
        return version(tool.package) if tool.package else ""
    except PackageNotFoundError:
        return ""


def _answer(tool: Tool, path: Path) -> dict[str, object]:
    Path("/proc/self/clear_refs").write_text(_CLEAR_PEAK)
    started = time.perf_counter()
    try:
        texts = tool.read(path)
    except Exception as exc:  # noqa: BLE001 (whatever a tool raises is its answer)
        return {"failed": f"{type(exc).__name__}: {str(exc)[:150]}"}
    seconds = time.perf_counter() - started
    return {"texts": texts, "seconds": seconds, "megabytes": _peak(), "version": _version(tool)}


def _peak() -> float:
    """Return the most memory that this process has had since the reset, or a program that it ran, in megabytes."""
    own = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return max(int(own[1]) if own else 0, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def main() -> None:
    """Answer each line, a path, by a line of JSON; libraries may print what they like elsewhere."""
    out = sys.stdout
    sys.stdout = sys.stderr
    for line in sys.stdin:
        print(json.dumps(_answer(TOOLS[sys.argv[1]], Path(line.rstrip("\n")))), file=out, flush=True)


if __name__ == "__main__":
    main()
