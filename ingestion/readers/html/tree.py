"""Parsing HTML into a tree of bounded depth, whatever was written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean

if TYPE_CHECKING:
    from lxml.html import HtmlElement

MAX_DEPTH = 120  # of the tree that is walked, which is done by recursion
_LIBXML2_DEPTH = "Excessive depth"
_NESTED = re.compile(
    r"</?(?!(?:html|head|body|title|h[1-6]|pre|script|style|br|img|meta|textarea|select|option)\b)[a-z][^<>]{0,2000}>",
    re.IGNORECASE,
)
INLINE = frozenset(
    "a abbr acronym b bdi bdo big cite code data del dfn em font i img ins kbd label mark meter nobr output progress q "
    "rb rp rt rtc ruby s samp small span strike strong sub sup time tt u var wbr input select textarea button svg math "
    "text tspan".split()
)


def parse(page: str) -> HtmlElement:
    """Return the root of a decoded page, without comments; elements nested deeper than `MAX_DEPTH` are unwrapped.

    Raises:
        Unreadable: there is nothing to parse.

    """
    text = clean(page)
    root, complete = _parsed(text)
    if not complete:  # libxml2 stops at 2048 levels and leaves out what is deeper
        root, _ = _parsed(_NESTED.sub("\n", text))
    _unwrap_deep(root)
    return root


def tag_of(element: HtmlElement) -> str:
    """Return the element's tag without a namespace prefix; empty for what is no element."""
    tag = element.tag
    return tag.rpartition(":")[2].rpartition("}")[2].lower() if isinstance(tag, str) else ""


def drop(element: HtmlElement) -> None:
    """Remove the element, but not the text after it; a block leaves a break between words."""
    if element.getparent() is not None:
        if element.tag not in INLINE:
            element.tail = f"\n{element.tail or ''}"
        element.drop_tree()


def _parsed(text: str) -> tuple[HtmlElement, bool]:
    from lxml import etree, html

    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root: HtmlElement = html.document_fromstring(text.encode(), parser=parser)
    except (etree.LxmlError, AssertionError, ValueError) as exc:
        msg = "a damaged HTML page, or one without content"
        raise Unreadable(msg) from exc
    return root, not any(_LIBXML2_DEPTH in error.message for error in parser.error_log)


def _unwrap_deep(root: HtmlElement) -> None:
    deep = list(_deeper(root))
    for element in reversed(deep):
        if element.tag not in INLINE:
            element.text = f"\n{element.text or ''}"
            element.tail = f"\n{element.tail or ''}"
        element.drop_tag()


def _deeper(root: HtmlElement) -> Iterator[HtmlElement]:
    from lxml import etree

    depth = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if event == "start" and depth > MAX_DEPTH:
            yield element
