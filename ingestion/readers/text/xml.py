"""XML as text: a line for each value under the path of its elements, attributes too; mixed text as paragraphs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import PurePath
from typing import TYPE_CHECKING

from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.encodings.decoding import decode
from ingestion.types import Extracted, Heading, ReadOptions, ReadWarning

if TYPE_CHECKING:
    from lxml.etree import _Element

MAX_PATH = 4  # innermost names of elements that stand before a value
_TITLES = frozenset(("title", "head", "heading"))
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*(?:\[[^\]]*\]\s*)?>")
_STRAY = re.compile(r"&(?!(?:lt|gt|amp|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)")
_NAMESPACE = "http://www.w3.org/XML/1998/namespace"
_XLINK = "{http://www.w3.org/1999/xlink}"


def read_xml(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read XML; what is no XML is read as source code.

    An element with text alone is a line ``path.to.name: value``; one with text and elements is a paragraph; the title
    of a section is a heading. Attributes are lines ``path.to.name@id: value``. External entities are not read.
    """
    decoded = decode(data, declared=_declared(data), language=options.language)
    text = clean(decoded.text)
    root, damaged = _parsed(text)
    if root is None:
        detail = "It is not valid XML, or nested too deeply, and was read without its tags."
        warnings = (*decoded.warnings, ReadWarning("part-unreadable", detail))
        return Extracted(_without_tags(text), title=name_as_title(name, suffix=True), warnings=warnings)
    writer = _Writer()
    writer.walk(root)
    said = (
        [ReadWarning("part-unreadable", f"It is not valid XML ({damaged}); it was mended by guess.")] if damaged else []
    )
    return Extracted(
        writer.text(),
        title=writer.title or name_as_title(name),
        headings=tuple(writer.headings),
        warnings=(*decoded.warnings, *said),
    )


class _Writer:
    """Walks the tree without recursion: it may be nested deeper than Python's limit."""

    def __init__(self) -> None:
        self.title = ""
        self.headings: list[Heading] = []
        self._parts: list[str] = []
        self._length = 0

    def text(self) -> str:
        """Return what was written."""
        return "".join(self._parts)

    def walk(self, root: _Element) -> None:
        """Write an element and all that is in it, in their order."""
        stack: list[tuple[_Element, tuple[str, ...], int]] = [(root, (), 0)]
        while stack:
            element, path, sections = stack.pop()
            path = (*path[-MAX_PATH + 1 :], _name(element))
            inner = [child for child in element if isinstance(child.tag, str)]
            if not inner or _has_own_text(element):
                self._leaf(element, path)
                continue
            title = next(
                (child for child in inner if _name(child).lower() in _TITLES and not _holds_sections(child)), None
            )
            if title is not None:
                self._heading(title, sections + 1)
                inner.remove(title)
            self._attributes(element, path)
            if len(path) > 1 and title is None and any(map(len, inner)):
                self._write("\n")
            stack += [(child, path, sections + (title is not None)) for child in reversed(inner)]

    def _leaf(self, element: _Element, path: tuple[str, ...]) -> None:
        value = " ".join(_flat(element).split())
        self._attributes(element, path)
        if value and len(element):
            self._write(f"\n{value}\n")
            for inner in element.iterdescendants():
                if isinstance(inner.tag, str):
                    self._attributes(inner, (*path, _name(inner)))
            self._write("\n")
        elif value:
            self._write(f"{'.'.join(path)}: {value}\n")

    def _heading(self, title: _Element, level: int) -> None:
        value = " ".join(_flat(title).split())
        if not value:
            return
        level = min(level, 6)
        self._write("\n")
        self.title = self.title or one_line(value)
        self.headings.append(Heading(self._length, level, one_line(value, limit=200)))
        self._write(f"{'#' * level} {value}\n\n")

    def _attributes(self, element: _Element, path: tuple[str, ...]) -> None:
        for key, value in element.attrib.items():
            name, shown = _local(str(key)), " ".join(str(value).split())
            if shown and "schemaLocation" not in name:
                self._write(f"{'.'.join(path)}@{name}: {shown}\n")

    def _write(self, text: str) -> None:
        ends = self._parts[-1] if self._parts else "\n\n"
        if text.startswith("\n") and (ends.endswith("\n\n") or not self._parts):
            text = text.lstrip("\n")
        if text:
            self._parts.append(text)
            self._length += len(text)


def _declared(data: bytes) -> str:
    found = re.search(rb"^\s*<\?xml[^>]{0,100}encoding\s*=\s*[\"']([\w.:-]{1,40})", data[:200])
    label = found[1].decode("ascii", "ignore") if found else ""
    return "utf-8" if label.lower().startswith("utf-16") and b"\0" not in data[:100] else label


def _parsed(text: str) -> tuple[_Element | None, str]:
    """Return the root, and where it had to be mended, if so; None if there is no element, or too deep a tree."""
    from lxml import etree

    body = text.encode()
    problem = ""
    # a document's own entities are written out as far as libxml2 thinks it safe; else they stay as they are written
    for entities, huge, recover in (("internal", False, False), (False, True, False), (False, True, True)):
        parser = etree.XMLParser(
            resolve_entities=entities,
            huge_tree=huge,
            recover=recover,
            no_network=True,
            load_dtd=False,
            encoding="utf-8",
        )
        try:
            root = etree.fromstring(_escaped(text).encode() if recover else body, parser)
        except (etree.XMLSyntaxError, ValueError) as exc:
            problem = f"line {getattr(exc, 'lineno', None) or 1}"
            continue
        if root is None or (recover and _is_torn(root, text)):
            break
        _write_entities(root)
        return root, problem if recover else ""
    return None, problem


def _escaped(text: str) -> str:
    """Return the text without its own entities, and with each ``&`` that begins none escaped, so that it stays."""
    return _STRAY.sub("&amp;", _DOCTYPE.sub("\n", text, count=1))


def _is_torn(root: _Element, text: str) -> bool:
    """Tell whether mending lost more than a tenth of the text."""
    kept = sum(len("".join(part.split())) for part in root.itertext())
    return 10 * kept < 9 * len("".join(_without_tags(text).split()))


def _without_tags(text: str) -> str:
    first, *rest = _DOCTYPE.sub("\n", text, count=1).split("<!--")
    bare = "\n".join([first, *(part.partition("-->")[2] if "-->" in part else part for part in rest)])
    bare = bare.replace("<![CDATA[", "").replace("]]>", "")
    return " ".join(unescape(re.sub(r"<[^<>]{0,1000}>", "\n", bare)).split())


def _write_entities(root: _Element) -> None:
    """Put a reference to an entity into the text as it is written."""
    from lxml import etree

    for entity in list(root.iter(etree.Entity)):
        parent, before = entity.getparent(), entity.getprevious()
        written = f"{entity.text or ''}{entity.tail or ''}"
        if before is not None:
            before.tail = f"{before.tail or ''}{written}"
        else:
            parent.text = f"{parent.text or ''}{written}"
        entity.tail = None
        parent.remove(entity)


def _name(element: _Element) -> str:
    return _local(str(element.tag))


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _has_own_text(element: _Element) -> bool:
    return bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)


def _holds_sections(element: _Element) -> bool:
    return len(element) > 0 and not _has_own_text(element)


def _flat(element: _Element) -> str:
    return "".join(_texts(element))


def _texts(element: _Element) -> Iterator[str]:
    """Yield the text inside; an entity that is not known stays as it is written, blocks are kept apart."""
    from lxml import etree

    for event, node in etree.iterwalk(element, events=("start", "end", "comment", "pi")):
        if event == "start":
            before = node.getprevious() if node is not element else None
            yield f"{' ' if before is not None and not before.tail else ''}{node.text or ''}"
        elif (event == "end" and node is not element) or event in {"comment", "pi"}:
            yield node.tail or ""
