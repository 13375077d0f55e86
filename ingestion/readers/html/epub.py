"""EPUB: the chapters in the order of the spine (EPUB 3.3), each as a page of HTML."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import name_as_title, one_line
from ingestion.readers.html.pictures import Finds, Found
from ingestion.readers.html.reader import content_of, decode_page
from ingestion.readers.office.zipped import Container
from ingestion.readers.pictures.within import PicturesWithin
from ingestion.readers.sections import Section, counted, headed, joined, merged
from ingestion.types import Extracted, Json, ReadOptions, ReadWarning

if TYPE_CHECKING:
    from lxml.etree import _Element

_CONTAINER = "META-INF/container.xml"
_PAGES = frozenset(("application/xhtml+xml", "text/html", "application/x-dtbook+xml", ""))
_SUFFIXES = (".xhtml", ".html", ".htm", ".xml")
_METADATA = {
    "creator": "author",
    "language": "language",
    "date": "date",
    "identifier": "identifier",
    "publisher": "publisher",
}
_NAVIGATION = frozenset(("toc", "page-list", "landmarks"))


def read_epub(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a book: its chapters in their order, title and authors as metadata.

    Raises:
        Unreadable: it is damaged, or its chapters are encrypted.

    """
    book = Container(data, what="EPUB")
    place = _package_place(book)
    package = _xml(book.read(place) or b"")
    warnings: list[ReadWarning] = []
    if package is None:
        warnings.append(
            ReadWarning(
                "part-unreadable", "It has no table of its parts; its pages were read in the order of their names."
            )
        )
        pages = sorted(part for part in book.names if part.lower().endswith(_SUFFIXES) and part != _CONTAINER)
    else:
        pages = list(_spine(package, posixpath.dirname(place)))
    sections = list(_chapters(book, pages, options, warnings))
    if not sections and "META-INF/encryption.xml" in book.names:
        msg = "an EPUB whose chapters are encrypted"
        raise Unreadable(msg)
    whole = joined(sections)
    title = _first(package, "title") or (whole.headings[0].text if whole.headings else name_as_title(name))
    return Extracted(
        whole.text, title=title, metadata=_metadata(package), headings=whole.headings, warnings=merged(warnings)
    )


def _chapters(
    book: Container, pages: list[str], options: ReadOptions, warnings: list[ReadWarning]
) -> Iterator[Section]:
    lost = 0
    pictures = PicturesWithin(options)
    for page in dict.fromkeys(pages):
        data = book.read(page)
        try:
            decoded = decode_page(data or b"", language=options.language) if data else None
            find = _finder(book, page)
            text, title, headings = content_of(decoded.text, pictures=pictures, find=find) if decoded else ("", "", ())
        except Unreadable:
            decoded, text, title, headings = None, "", "", ()
        lost += decoded is None
        warnings += decoded.warnings if decoded else ()
        section = Section(text, headings)
        yield section if headings or not title or not text.strip() else headed(title, section)
    warnings += pictures.said()
    if lost:
        what = counted(lost, "part of the book was", "parts of the book were")
        warnings.append(ReadWarning("part-unreadable", f"{what} missing, damaged or encrypted."))


def _finder(book: Container, page: str) -> Finds:
    """Return what finds the pictures of a page in the book; addresses out of it, or with a scheme, find none."""
    folder = posixpath.dirname(page)

    def find(address: str) -> Found | None:
        place = posixpath.normpath(posixpath.join(folder, unquote(address).partition("#")[0]))
        return (place, partial(book.read, place)) if place in book.names else None

    return find


def _package_place(book: Container) -> str:
    container = _xml(book.read(_CONTAINER) or b"")
    roots = [] if container is None else [element.get("full-path") or "" for element in _named(container, "rootfile")]
    found = next((root for root in roots if root in book.names), None)
    return found or next((part for part in sorted(book.names) if part.lower().endswith(".opf")), "")


def _spine(package: _Element, folder: str) -> Iterator[str]:
    """Yield the places of the pages in their order, without the navigation."""
    items = {item.get("id", ""): item for item in _named(package, "item")}
    for reference in _named(package, "itemref"):
        item = items.get(reference.get("idref", ""))
        if item is None or item.get("media-type", "") not in _PAGES:
            continue
        if "nav" not in item.get("properties", "").split():
            yield posixpath.normpath(posixpath.join(folder, unquote(item.get("href", "")).partition("#")[0]))


def _metadata(package: _Element | None) -> dict[str, Json]:
    found: Mapping[str, list[str]] = (
        {
            key: [one_line(element.text or "") for element in _named(package, name) if (element.text or "").strip()]
            for name, key in _METADATA.items()
        }
        if package is not None
        else {}
    )
    return {key: values[0] if len(values) == 1 else list(values) for key, values in found.items() if values}


def _first(package: _Element | None, name: str) -> str:
    return "" if package is None else next((one_line(found.text) for found in _named(package, name) if found.text), "")


def _named(root: _Element, name: str) -> Iterator[_Element]:
    return (
        element for element in root.iter() if isinstance(element.tag, str) and element.tag.rpartition("}")[2] == name
    )


def _xml(data: bytes) -> _Element | None:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True)
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
