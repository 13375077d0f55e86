"""HTML, EPUB, ODT and CSV documents with known text, written by hand."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

from benchmarks.readers.truth import Truth, Writer, cells_of, text_of

_NAMES = "office text table"
_NAMESPACES = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"' for name in _NAMES.split())
_STYLES = "<office:font-face-decls/><office:styles/><office:automatic-styles/><office:master-styles/>"
_CONTAINER = (
    '<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    '<rootfile full-path="book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)


def page() -> tuple[bytes, Truth]:
    """Return an HTML page with a menu and a footer around its article, which are not to be read."""
    writer = Writer(21)
    menu = "".join(f"<li><a href='/{number}'>{writer.word()}</a></li>" for number in range(6))
    body, truth = _article(writer)
    html = (
        f"<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>{writer.title()}</title></head><body>"
        f"<nav><ul>{menu}</ul></nav><main><article>{body}</article></main><footer>{writer.sentence(4)}</footer></body></html>"
    )
    return html.encode(), truth


def book() -> tuple[bytes, Truth]:
    """Return an EPUB 3 of three chapters."""
    writer = Writer(22)
    chapters = [_article(writer) for _ in range(3)]
    names = [f"chapter{number}.xhtml" for number in range(len(chapters))]
    items = "".join(f'<item id="{name[:-6]}" href="{name}" media-type="application/xhtml+xml"/>' for name in names)
    spine = "".join(f'<itemref idref="{name[:-6]}"/>' for name in names)
    opf = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">'
        '<metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:identifier id="id">made</dc:identifier>'
        f"<dc:title>{writer.title()}</dc:title><dc:language>en</dc:language></metadata>"
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    parts = {
        "mimetype": "application/epub+zip",
        "META-INF/container.xml": _CONTAINER,
        "book.opf": opf,
        **{
            name: f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{number}</title></head>'
            f"<body>{body}</body></html>"
            for number, (name, (body, _)) in enumerate(zip(names, chapters, strict=True))
        },
    }
    said = "\n".join(truth.words for _, truth in chapters)
    return _zipped(parts), Truth(said, tuple(cell for _, truth in chapters for cell in truth.cells))


def open_document() -> tuple[bytes, Truth]:
    """Return an ODT with headings, a list and a table."""
    writer = Writer(23)
    said = [
        writer.title(),
        writer.paragraph(),
        writer.sentence(5),
        writer.sentence(5),
        writer.title(),
        writer.paragraph(),
    ]
    table = writer.table(7, 4)
    rows = "".join(f"<table:table-row>{''.join(map(_cell, row))}</table:table-row>" for row in table)
    body = (
        f"{_heading(said[0])}{_text(said[1])}<text:list>"
        f"{''.join(f'<text:list-item>{_text(item)}</text:list-item>' for item in said[2:4])}</text:list>"
        f"{_heading(said[4])}{_text(said[5])}"
        f'<table:table table:name="T"><table:table-column table:number-columns-repeated="4"/>{rows}</table:table>'
    )
    kind = "application/vnd.oasis.opendocument.text"
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?><office:document-content {_NAMESPACES} office:version="1.2">'
        f"<office:body><office:text>{body}</office:text></office:body></office:document-content>"
    )
    manifest = (
        '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0" manifest:version="1.2">'
        f'<manifest:file-entry manifest:full-path="/" manifest:media-type="{kind}"/>'
        '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml"/>'
        '<manifest:file-entry manifest:full-path="styles.xml" manifest:media-type="text/xml"/></manifest:manifest>'
    )
    styles = f'<office:document-styles {_NAMESPACES} office:version="1.2">{_STYLES}</office:document-styles>'
    parts = {"mimetype": kind, "content.xml": content, "styles.xml": styles, "META-INF/manifest.xml": manifest}
    return _zipped(parts), Truth("\n".join([*said, text_of(table)]), cells_of(table))


def values() -> tuple[bytes, Truth]:
    """Return a CSV with semicolons and names that are years."""
    table = Writer(24).table(10, 4)
    table[0][1:] = ["2023", "2024", "2025"]
    text = "".join(";".join(row) + "\n" for row in table)
    return text.encode(), Truth(text_of(table), cells_of(table))


def _article(writer: Writer) -> tuple[str, Truth]:
    title, before, items, after = (
        writer.title(),
        writer.paragraph(),
        [writer.sentence(6) for _ in range(3)],
        writer.paragraph(),
    )
    table = writer.table(6, 3)
    head, *rows = [[f"<{tag}>{value}</{tag}>" for value in row] for tag, row in _tagged(table)]
    shown = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    body = (
        f"<h1>{title}</h1><p>{before}</p><ul>{''.join(f'<li>{item}</li>' for item in items)}</ul>"
        f"<table><thead><tr>{''.join(head)}</tr></thead><tbody>{shown}</tbody></table><p>{after}</p>"
    )
    return body, Truth("\n".join([title, before, *items, text_of(table), after]), cells_of(table))


def _tagged(table: list[list[str]]) -> list[tuple[str, list[str]]]:
    return [("td" if number else "th", row) for number, row in enumerate(table)]


def _heading(text: str) -> str:
    return f'<text:h text:outline-level="1">{text}</text:h>'


def _text(text: str) -> str:
    return f"<text:p>{text}</text:p>"


def _cell(text: str) -> str:
    return f"<table:table-cell>{_text(text)}</table:table-cell>"


def _zipped(parts: Mapping[str, str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text, zipfile.ZIP_STORED if name == "mimetype" else zipfile.ZIP_DEFLATED)
    return out.getvalue()
