"""Parts and relationships of an Office Open XML file (ECMA-376, part 2), in either of its sets of namespaces."""

from __future__ import annotations

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeAlias
from urllib.parse import unquote

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import one_line
from ingestion.readers.office.zipped import unpacks_too_far
from ingestion.types import ReadWarning

Element: TypeAlias = Any  # of lxml, which is untyped

MAX_TREE = 256 << 20
"""Bytes of a part that is held as a tree, which takes some ten times as much."""
_DAMAGED = (KeyError, zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, zlib.error)
_PROGRAM_TITLES = {"PowerPoint Presentation", "Word Document", "PowerPoint-Präsentation", "Présentation PowerPoint"}


@dataclass(frozen=True, slots=True)
class Relation:
    """A relationship of a part: the last word of its type, and its target, a part unless it is external."""

    kind: str
    target: str
    external: bool


class Package:
    """The parts of a file. What cannot be read is left out and told in `warnings`."""

    def __init__(self, data: bytes) -> None:
        check_unpacked_size(data)
        self._archive = zipfile.ZipFile(io.BytesIO(data))
        self._names = {name.lower().lstrip("/"): name for name in reversed(self._archive.namelist())}
        self.warnings: list[ReadWarning] = []

    def __contains__(self, part: str) -> bool:
        return part.lower() in self._names

    def parts(self, prefix: str) -> list[str]:
        """Return the names of the parts below a folder."""
        return sorted(name for low, name in self._names.items() if low.startswith(prefix))

    def read(self, part: str) -> bytes | None:
        """Return a part's bytes; None if it is missing or damaged."""
        if part not in self:
            return None
        try:
            return self._archive.read(self._names[part.lower()])
        except _DAMAGED:
            self.damaged(part)
            return None

    def open(self, part: str) -> IO[bytes]:
        """Open a part that is there, for reading in pieces."""
        return self._archive.open(self._names[part.lower()])

    def xml(self, part: str) -> Element | None:
        """Return a part's root, what can be read of it; None if it is missing or damaged."""
        from lxml import etree

        content = self.read(part)
        if not content:
            return None
        if len(content) > MAX_TREE:
            self.damaged(part)
            return None
        if b"<!DOCTYPE" in content[:2000]:  # which no program writes; its entities are not expanded
            self.damaged(part)
        try:
            return etree.fromstring(content, xml_parser())
        except etree.XMLSyntaxError:
            self.damaged(part)
        try:
            return etree.fromstring(content, xml_parser(recover=True))
        except etree.XMLSyntaxError:  # nothing of it can be read
            return None

    def damaged(self, part: str) -> None:
        """Say that a part could not be read, or not all of it."""
        self._say(part, "is damaged; what could not be read is left out")

    def missing(self, part: str) -> None:
        """Say that a part is not there to which another relates."""
        self._say(part, "is missing")

    def _say(self, part: str, what: str) -> None:
        shown = one_line("".join(char for char in part if char.isprintable()), limit=100)
        warning = ReadWarning("part-unreadable", f"The part {shown} {what}.")
        if warning not in self.warnings:
            self.warnings.append(warning)

    def relations(self, part: str) -> dict[str, Relation]:
        """Return a part's relationships by their id; the file's own for the empty name."""
        folder, name = posixpath.split(part)
        root = self.xml(posixpath.join(folder, "_rels", f"{name}.rels"))
        found: dict[str, Relation] = {}
        for element in children(root, "Relationship") if root is not None else ():
            target = unquote(element.get("Target") or "")
            external = element.get("TargetMode") == "External"
            if not external:
                target = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            found[element.get("Id") or ""] = Relation((element.get("Type") or "").rpartition("/")[2], target, external)
        return found

    def related(self, part: str, kind: str) -> list[str]:
        """Return the parts of a kind that a part relates to; say which are not there."""
        relations = self.relations(part).values()
        targets = [each.target for each in relations if each.kind == kind and not each.external]
        for target in targets:
            if target not in self:
                self.missing(target)
        return [target for target in targets if target in self]

    def main(self, otherwise: str) -> str:
        """Return the name of the main part."""
        return next(iter(self.related("", "officeDocument")), otherwise)

    def title(self) -> str:
        """Return the title in the file's properties, or an empty string."""
        root = self.xml("docProps/core.xml")
        found = next((child.text for child in children(root, "title") if child.text), "") if root is not None else ""
        title = one_line(found)
        return "" if title in _PROGRAM_TITLES else title


def xml_parser(*, recover: bool = False) -> Any:  # noqa: ANN401 (lxml is untyped)
    """Return a parser that expands no entities, reads no other files, and has no limit of depth."""
    from lxml import etree

    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, recover=recover, remove_comments=True
    )


def local(element: Element) -> str:
    """Return an element's name without its namespace; empty for what is no element."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def children(element: Element, *names: str) -> Iterator[Element]:
    """Yield the children of these local names."""
    return (child for child in element if local(child) in names)


def child(element: Element | None, *path: str) -> Element | None:
    """Return the first child of a local name, and so on down the path; None if there is none."""
    for name in path:
        element = next(children(element, name), None) if element is not None else None
    return element


def attribute(element: Element | None, name: str) -> str | None:
    """Return an attribute by its local name."""
    if element is None:
        return None
    plain: str | None = element.get(name)
    if plain is not None:
        return plain
    return next((value for key, value in element.items() if key.rpartition("}")[2] == name), None)


def forget(element: Element) -> None:
    """Free an element that was read from a stream, and those before it."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def relation_id(element: Element) -> str:
    """Return the id of the relationship that an element refers to; an empty string if it refers to none."""
    return next((value for key, value in element.items() if key.endswith("}id") and "elationships" in key), "")


def check_unpacked_size(data: bytes) -> None:
    """Refuse a file that unpacks to far more than its size.

    Raises:
        Unreadable: it may be a zip bomb, it is encrypted, or damaged.

    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as exc:
        msg = "a damaged Office file"
        raise Unreadable(msg) from exc
    if any(entry.flag_bits & 1 for entry in entries):
        msg = "an encrypted Office file; remove its password first"
        raise Unreadable(msg)
    if unpacks_too_far(entries, len(data)):
        msg = "an Office file that unpacks to many times its size, a zip bomb perhaps"
        raise Unreadable(msg)
