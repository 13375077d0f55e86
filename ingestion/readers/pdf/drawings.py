"""Which streams the pages of a PDF draw, those of forms that forms draw, too; and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ingestion.readers.pdf.objects import Dictionary, Objects, Ref, Value
from ingestion.readers.pdf.streams import damaged_streams

_MAX_PAGES = 50_000
_MAX_DEPTH = 60  # of the tree of pages, and of resources that are inherited
_MAX_COST = 20_000_000  # bytes that PDFium would read to draw a form, with what it draws, again and again
_CALL = 100  # bytes that calling a form costs like
_DRAWN = re.compile(rb"/([^\s()<>\[\]{}/%]+)\s+Do\b")
_FORM = re.compile(rb"(/Subtype\s*/For)m\b")
_KNOWN = {
    b"/ASCIIHexDecode", b"/AHx", b"/ASCII85Decode", b"/A85", b"/LZWDecode", b"/LZW", b"/FlateDecode", b"/Fl",
    b"/RunLengthDecode", b"/RL", b"/Crypt",
}  # fmt: skip
_TRIED = {b"/ASCII85Decode", b"/A85", b"/FlateDecode", b"/Fl", b"/Crypt"}


@dataclass(frozen=True, slots=True)
class Faults:
    """What pages draw that PDFium cannot.

    Attributes:
        data: the file, without forms that draw themselves, or others so often that it would not end.
        endless: pages that have such forms.
        unknown: pages with content that is packed in a way that no one knows.
        damaged: pages with content that cannot be unpacked.
        unsure: pages with content that is packed in a way that is not tried here.
        elsewhere: how many parts cannot be unpacked of which no page is known.

    """

    data: bytes
    endless: tuple[int, ...] = ()
    unknown: tuple[int, ...] = ()
    damaged: tuple[int, ...] = ()
    unsure: tuple[int, ...] = ()
    elsewhere: int = 0


def faults_of(data: bytes) -> Faults:
    """Find what PDFium would not survive, or leave out without a word; nothing in encrypted files."""
    if b"/Encrypt" in data:
        return Faults(data)
    objects = Objects(data)
    forms = _Forms(objects)
    cut = forms.cut()
    kinds = {number: _packing(objects, number) for number in objects.numbers()}
    starts = set(damaged_streams(data))
    damaged = {number for number in objects.numbers() if objects.head(number)[0] in starts}
    unknown = {number for number, names in kinds.items() if not names <= _KNOWN}
    unsure = {number for number, names in kinds.items() if names <= _KNOWN and names - _TRIED}
    if not (cut or starts or unknown or unsure):
        return Faults(data)
    pages = [forms.drawn_by(page) for page in _pages(objects)]
    known = damaged & set().union(*pages)

    def with_any(numbers: set[int]) -> tuple[int, ...]:
        return tuple(number for number, drawn in enumerate(pages, 1) if drawn & numbers)

    return Faults(
        _without(data, objects, cut),
        endless=with_any({form for form, _ in cut}),
        unknown=with_any(unknown),
        damaged=with_any(known),
        unsure=with_any(unsure),
        elsewhere=len(starts) - len(known),
    )


def _packing(objects: Objects, number: int) -> set[bytes]:
    """Return the names of how an object is packed."""
    start, end = objects.head(number)
    if b"/Filter" not in objects.data[start:end]:
        return set()
    return set(objects.names(objects.dictionary(Ref(number)).get(b"/Filter")))


def _without(data: bytes, objects: Objects, cut: set[tuple[int, int]]) -> bytes:
    """Return the file without the references of forms to others, or if they are elsewhere without those; nothing moves.

    Object 0 is none.
    """
    if not cut:
        return data
    changed = bytearray(data)
    for form, child in cut:
        start, end = objects.head(form)
        reference = re.compile(rb"(?<!\d)%d(?=\s+\d{1,5}\s+R\b)" % child)
        without, count = reference.subn(lambda match: b"0" * len(match[0]), changed[start:end])
        if count:
            changed[start:end] = without
            continue
        start, end = objects.head(child)
        changed[start:end] = _FORM.sub(rb"\1k", changed[start:end])
    return bytes(changed)


class _Forms:
    """The forms of a file, and which others each of them draws."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._resources: dict[int, dict[bytes, int]] = {}
        data = objects.data
        for number in objects.numbers() if b"/Form" in data else ():
            start, end = objects.head(number)
            if _FORM.search(data, start, end):
                self._resources[number] = {}
        for number in self._resources:
            self._resources[number] = self._xobjects(objects.dictionary(Ref(number)))

    def _xobjects(self, holder: Dictionary) -> dict[bytes, int]:
        """Return the forms in the resources of a page or form, by their names."""
        resources = self._objects.dictionary(holder.get(b"/Resources"))
        named = self._objects.dictionary(resources.get(b"/XObject"))
        return {
            name: value.number
            for name, value in named.items()
            if isinstance(value, Ref) and value.number in self._resources
        }

    def cut(self) -> set[tuple[int, int]]:
        """Return which form may not draw which other, so that all of it ends: (form, drawn form)."""
        found: set[tuple[int, int]] = set()
        costs: dict[int, int] = {}
        for begin in self._resources:
            self._visit(begin, costs, found)
        return found

    def _visit(self, begin: int, costs: dict[int, int], found: set[tuple[int, int]]) -> None:
        """Find what each form costs, from the innermost; none may draw one within which it is drawn."""
        around: dict[int, list[int]] = {}
        stack = [begin]
        while stack:
            form = stack[-1]
            if form in around:
                costs[form] = self._cost(form, around.pop(form), costs, found)
            if form in costs:
                stack.pop()
                continue
            around[form] = self._calls(form)
            inner = set(around[form])
            found.update((form, child) for child in inner if child in around)
            stack += [child for child in inner if child not in costs and child not in around]

    def _cost(self, form: int, calls: list[int], costs: dict[int, int], found: set[tuple[int, int]]) -> int:
        start, end = self._objects.head(form)
        own = _CALL + end - start
        cost = own + sum(costs.get(child, 0) + _CALL for child in calls if (form, child) not in found)
        if cost <= _MAX_COST:
            return cost
        found.update((form, child) for child in calls)
        return own

    def _calls(self, form: int) -> list[int]:
        """Return the forms that a form draws, each as often as it does; all that it names if that is not known."""
        named = self._resources[form]
        if not named:
            return []
        content = self._objects.content(form)
        if content is None:
            return list(named.values())
        return [named[b"/" + name] for name in _DRAWN.findall(content) if b"/" + name in named]

    def drawn_by(self, page: Dictionary) -> set[int]:
        """Return the numbers of the streams that a page draws: its content, its forms, theirs."""
        contents = page.get(b"/Contents")
        whole = self._objects.value(contents)
        items = whole if isinstance(whole, list) else [contents]
        drawn = {item.number for item in items if isinstance(item, Ref)}
        left = list(self._xobjects(page).values())
        while left:
            form = left.pop()
            if form not in drawn:
                drawn.add(form)
                left += self._resources[form].values()
        return drawn


def _pages(objects: Objects) -> Iterator[Dictionary]:
    """Yield the pages, each with the resources that it inherits."""
    roots = re.findall(rb"/Root\s+(\d{1,9})\s+\d+\s+R", objects.data)
    catalog = objects.dictionary(Ref(int(roots[-1]))) if roots else {}
    stack: list[tuple[Value, Value, int]] = [(catalog.get(b"/Pages"), None, 0)]
    count, seen = 0, set[Ref]()
    while stack and count < _MAX_PAGES:
        node, inherited, depth = stack.pop()
        here = objects.dictionary(node)
        if isinstance(node, Ref) and b"/Kids" in here:
            if node in seen:
                continue
            seen.add(node)
        resources = here.get(b"/Resources", inherited)
        kids = objects.value(here.get(b"/Kids"))
        if isinstance(kids, list) and depth < _MAX_DEPTH:
            stack += [(kid, resources, depth + 1) for kid in reversed(kids)]
        elif here:
            count += 1
            yield {**here, b"/Resources": resources}
