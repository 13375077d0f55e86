"""Text of pictures in a page, put into its tree behind the picture."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from ingestion.readers.html.tree import tag_of
from ingestion.readers.pictures.within import ICON

if TYPE_CHECKING:
    from lxml.html import HtmlElement

    from ingestion.readers.pictures.within import PicturesWithin

_DATA = re.compile(r"\s*data:image/[\w.+-]{1,40}((?:;[\w.+=-]{1,60}){0,4}),", re.IGNORECASE)
_ADDRESSES = {"img": ("src",), "image": ("href", "xlink:href"), "object": ("data",), "input": ("src",)}
Found = tuple[str, Callable[[], bytes | None]]  # a name of the picture within the file, and what gives its bytes
Finds = Callable[[str], Found | None]


def read_pictures(root: HtmlElement, pictures: PicturesWithin, *, find: Finds | None = None) -> None:
    """Put the text of each picture behind it; `find` returns what the file has behind an address, None if nothing.

    Without it only pictures in ``data:`` URIs are read. Nothing is fetched, and no other file is opened.
    """
    for element in [each for each in root.iter() if tag_of(each) in _ADDRESSES]:
        address = _address(element)
        if _is_icon(address):
            continue
        found = _inline(address) or (find(address) if find else None)
        if found is not None:
            if text := pictures.text_of(*found):
                _put_behind(element, text)
        elif address and element.get("alt") != "":  # which says that it is decoration
            pictures.missed(address)


def _address(element: HtmlElement) -> str:
    tag = tag_of(element)
    kind = (element.get("type") or "").lower()
    if (tag == "object" and not kind.startswith("image/")) or (tag == "input" and kind != "image"):
        return ""
    return next((value for name in _ADDRESSES[tag] if (value := element.get(name))), "")


def _is_icon(address: str) -> bool:
    return len(address) < ICON and _DATA.match(address) is not None


def _inline(address: str) -> Found | None:
    """Return the picture in a ``data:`` URI (RFC 2397); None for other addresses."""
    found = _DATA.match(address)
    if found is None:
        return None
    is_base64, written = "base64" in found[1].lower(), address[found.end() :]

    def data() -> bytes | None:
        plain = unquote_to_bytes(written)
        try:
            return (base64.b64decode(b"".join(plain.split()) + b"==") if is_base64 else plain) or None
        except (binascii.Error, ValueError):
            return None

    return written, data


def _put_behind(element: HtmlElement, text: str) -> None:
    """Insert the text as a block of lines."""
    block: HtmlElement = element.makeelement("div")
    first, *rest = text.strip().split("\n")
    block.text = first
    for line in rest:
        broken = element.makeelement("br")
        broken.tail = line
        block.append(broken)
    tail, element.tail = element.tail, None
    element.addnext(block)
    block.tail = tail
