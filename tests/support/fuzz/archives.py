"""Damages zipped documents: their members, and the nodes of the XML in them."""

from __future__ import annotations

import io
import random
import re
import warnings
import zipfile
from collections.abc import Mapping

from lxml import etree
from support.fuzz.words import words

Damaged = tuple[bytes, str, frozenset[str]]
_TEXT = re.compile(
    r"word/(document|footnotes|endnotes)\.xml|ppt/slides/slide\d+\.xml|xl/worksheets/sheet\d+\.xml|.*\.x?html?|content\.xml"
)
_LEADING = re.compile(
    r".*\.rels|\[Content_Types\]\.xml|xl/workbook\.xml|ppt/presentation\.xml|mimetype|META-INF/.*|.*\.(opf|ncx)|xl/sharedStrings\.xml"
)
_VALUES = ("", "-1", "0", "99999999999", "NaN", "x" * 5000, "../../etc/passwd", "rId999", "true")


def mutated(data: bytes, choice: random.Random) -> Damaged:
    """Damage a zipped document; return it, what was done, and the words that still stand in its other parts."""
    parts = _read(data)
    return choice.choice([_node, _node, _node, _attribute, _attribute, _delete, _rename, _swap, _garble, _double])(
        parts, choice
    )


def _read(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(parts: Mapping[str, bytes], *, doubled: Mapping[str, bytes] | None = None) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice, which is meant
        for name, data in [*parts.items(), *(doubled or {}).items()]:
            archive.writestr(name, data)
    return out.getvalue()


def _kept(parts: Mapping[str, bytes], *touched: str) -> frozenset[str]:
    """Return the words of the parts that hold text, less those touched; none if a part that leads to others was."""
    if any(_LEADING.fullmatch(name) for name in touched):
        return frozenset()
    texts = [name for name in parts if _TEXT.fullmatch(name) and name not in touched]
    return frozenset().union(*(_words(parts[name]) for name in texts))


def _words(part: bytes) -> frozenset[str]:
    root = _tree(part)
    return frozenset() if root is None else words(" ".join(str(text) for text in root.itertext()))


def _tree(part: bytes) -> etree._Element | None:
    try:
        return etree.fromstring(part, etree.XMLParser(resolve_entities=False, huge_tree=False))
    except etree.XMLSyntaxError:
        return None


def _node(parts: dict[str, bytes], choice: random.Random) -> Damaged:
    """Delete, double, empty or deepen an element."""
    name, root, element = _element(parts, choice)
    parent = element.getparent()
    if parent is None:
        return _garble(parts, choice)
    what = choice.choice(["deleted", "doubled", "emptied", "wrapped 2000 times", "moved to the front"])
    index, tag = parent.index(element), str(element.tag).rsplit("}", 1)[-1]
    if what == "deleted":
        parent.remove(element)
    elif what == "doubled":
        parent.insert(index, etree.fromstring(etree.tostring(element)))
    elif what == "emptied":
        element.clear()
    elif what == "moved to the front":
        parent.insert(0, element)
    else:
        for _ in range(2000):
            wrapper = etree.Element(element.tag)
            parent.replace(element, wrapper)
            wrapper.append(element)
            parent = wrapper
    kept = _kept(parts, name)
    return _zipped({**parts, name: etree.tostring(root)}), f"{tag} of {name} {what}", kept


def _attribute(parts: dict[str, bytes], choice: random.Random) -> Damaged:
    """Delete or change an attribute."""
    name, root, element = _element(parts, choice)
    if not element.attrib:
        return _node(parts, choice)
    key = choice.choice(sorted(map(str, element.attrib)))
    value = choice.choice([None, *_VALUES])
    if value is None:
        del element.attrib[key]
    else:
        element.attrib[key] = value
    what = f"attribute {key.rsplit('}', 1)[-1]} of {name} {'deleted' if value is None else f'made {value[:12]!r}'}"
    return _zipped({**parts, name: etree.tostring(root)}), what, _kept(parts, name)


def _element(parts: dict[str, bytes], choice: random.Random) -> tuple[str, etree._Element, etree._Element]:
    """Return any element of any part; parts with text more often."""
    trees = {name: root for name, part in parts.items() if (root := _tree(part)) is not None}
    texts = [name for name in trees if _TEXT.fullmatch(name)]
    name = choice.choice(texts if texts and choice.random() < 0.6 else sorted(trees))
    elements = [element for element in trees[name].iter() if isinstance(element.tag, str)]
    return name, trees[name], choice.choice(elements)


def _delete(parts: dict[str, bytes], choice: random.Random) -> Damaged:
    name = choice.choice(sorted(parts))
    rest = {other: part for other, part in parts.items() if other != name}
    return _zipped(rest), f"{name} deleted", _kept(rest, name)


def _rename(parts: dict[str, bytes], choice: random.Random) -> Damaged:
    name = choice.choice(sorted(parts))
    new = choice.choice([name.upper(), "../" + name, "/" + name, name + "x", "a" * 300, "\u00e4" + name])
    renamed = {new if other == name else other: part for other, part in parts.items()}
    return _zipped(renamed), f"{name} renamed to {new[:20]}", _kept(parts, name)


def _swap(parts: dict[str, bytes], choice: random.Random) -> Damaged:
    first, second = choice.choice(sorted(parts)), choice.choice(sorted(parts))
    swapped = {**parts, first: parts[second], second: parts[first]}
    return _zipped(swapped), f"{first} and {second} swapped", _kept(parts, first, second)


def _garble(parts: dict[str, bytes], choice: random.Random) -> Damaged:
    name = choice.choice(sorted(parts))
    part = bytearray(parts[name] or b"\0")
    way = choice.choice(["bits flipped", "cut off", "emptied", "repeated"])
    if way == "bits flipped":
        for _ in range(choice.choice([1, 10])):
            part[choice.randrange(len(part))] ^= 1 << choice.randrange(8)
    elif way == "cut off":
        del part[choice.randrange(len(part)) :]
    elif way == "emptied":
        part.clear()
    else:
        part *= 2
    return _zipped({**parts, name: bytes(part)}), f"{name} {way}", _kept(parts, name)


def _double(parts: dict[str, bytes], choice: random.Random) -> Damaged:
    name = choice.choice(sorted(parts))
    doubled = {name: parts[choice.choice(sorted(parts))]}
    return _zipped(parts, doubled=doubled), f"{name} there twice", _kept(parts, name)
