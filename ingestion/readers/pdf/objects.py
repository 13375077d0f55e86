"""The objects of a PDF, as far as they tell which streams its pages draw: what PDFium does not let one ask.

Objects are found by their heads in the file, not by its table: the last of a number counts. Those packed into object
streams are found as well. Nothing is known of encrypted files.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeAlias

_HEAD = re.compile(rb"(\d{1,9})\s+(\d{1,5})\s+\Z")
_TOKEN = re.compile(
    rb"<<|>>|\[|\]|/[^\s()<>\[\]{}/%]*|\((?:[^()\\]|\\.|\((?:[^()\\]|\\.)*\))*\)|<[0-9A-Fa-f\s]*>|%[^\r\n]*|"
    rb"[^\s()<>\[\]{}/%]+",
    re.DOTALL,
)
_STREAM = re.compile(rb"stream\r?\n")
_END = b"endstream"
_MAX_OBJECTS = 500_000
_MAX_TOKENS = 400_000  # of an object
_MAX_DEPTH = 100
_MOST = 1 << 26  # bytes unpacked of a file


class Ref(NamedTuple):
    """A reference to an object."""

    number: int


Value: TypeAlias = "bytes | Ref | list[Value] | dict[bytes, Value] | None"
Dictionary: TypeAlias = "Mapping[bytes, Value]"


class Objects:
    """Looks objects up by number; references in what it returns are resolved by `value`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._left = _MOST
        places = list(_places(data))
        ends = [*(start for _, start in places), len(data)][1:]
        self._places = {number: (start, end) for (number, start), end in zip(places, ends, strict=True)}
        self._heads: dict[int, tuple[int, int]] = {}
        self._last_end = data.rfind(_END)
        self._packed: dict[int, bytes] = {}
        self._parsed: dict[int, Value] = {}
        if b"/ObjStm" in data:
            self._unpack()

    def numbers(self) -> list[int]:
        """Return the numbers of the objects that stand in the file by themselves, as all streams do."""
        return list(self._places)

    def value(self, value: Value) -> Value:
        """Return what a value is, following references."""
        for _ in range(_MAX_DEPTH):
            if not isinstance(value, Ref):
                return value
            value = self._object(value.number)
        return None

    def dictionary(self, value: Value) -> Dictionary:
        """Return a value's dictionary, a stream's also; an empty one if it has none."""
        found = self.value(value)
        return found if isinstance(found, dict) else {}

    def names(self, value: Value) -> list[bytes]:
        """Return a name, or the names in a list."""
        found = self.value(value)
        items = [self.value(item) for item in found] if isinstance(found, list) else [found]
        return [item for item in items if isinstance(item, bytes)]

    def head(self, number: int) -> tuple[int, int]:
        """Return where an object's dictionary, or other value, is in the file."""
        if number not in self._heads:
            start, most = self._places.get(number, (0, 0))
            end = self.data.find(b"endobj", start, most)
            end = end if end >= 0 else most
            stream = _STREAM.search(self.data, start, end)
            self._heads[number] = start, stream.start() if stream else end
        return self._heads[number]

    def content(self, number: int) -> bytes | None:
        """Return a stream's bytes, unpacked; None if it is none, or is packed in another way than by Flate."""
        begin = self.head(number)[1]
        stream = _STREAM.match(self.data, begin)
        if stream is None or self._left <= 0:
            return None
        if stream.end() > self._last_end:
            return None
        packed = self.data[stream.end() : self.data.find(_END, stream.end())]
        self._left -= len(packed)
        filters = self.names(self.dictionary(Ref(number)).get(b"/Filter"))
        if not filters:
            return packed
        if filters not in ([b"/FlateDecode"], [b"/Fl"]):
            return None
        try:
            content = zlib.decompressobj().decompress(packed, max(self._left, 1))
        except zlib.error:
            return None
        self._left -= len(content)
        return content

    def _object(self, number: int) -> Value:
        if number not in self._parsed:
            self._parsed[number] = None  # while it is parsed
            if number in self._packed:
                self._parsed[number] = parsed(self._packed[number])
            elif number in self._places:
                start, end = self.head(number)
                self._parsed[number] = parsed(self.data[start:end])
        return self._parsed[number]

    def _unpack(self) -> None:
        for number in self.numbers():
            start, end = self.head(number)
            if b"/ObjStm" not in self.data[start:end]:
                continue
            first = self.dictionary(Ref(number)).get(b"/First")
            content = self.content(number)
            if content is not None and isinstance(first, bytes) and first.isdigit():
                self._packed.update(_members(content, int(first)))


def _places(data: bytes) -> Iterator[tuple[int, int]]:
    at, count = data.find(b"obj"), 0
    while at >= 0 and count < _MAX_OBJECTS:
        head = _HEAD.search(data, max(0, at - 20), at) if data[at - 3 : at] != b"end" else None
        if head:
            count += 1
            yield int(head[1]), at + 3
        at = data.find(b"obj", at + 3)


def _members(content: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    pairs = [int(word) for word in content[:first].split()[:_MAX_OBJECTS] if word.isdigit()]
    offsets = pairs[1::2]
    for number, start, end in zip(pairs[::2], offsets, [*offsets[1:], len(content)], strict=False):
        yield number, content[first + start : first + end]


def parsed(body: bytes) -> Value:
    """Return the first value in the bytes of an object; what is no dictionary, list or reference as it is written."""
    stack: list[list[Value]] = [[]]
    for count, match in enumerate(_TOKEN.finditer(body)):
        token = match.group()
        if count > _MAX_TOKENS or len(stack) > _MAX_DEPTH or token in {b"endobj", b"stream"}:
            break
        if token in {b"<<", b"["}:
            stack.append([])
        elif token in {b">>", b"]"} and len(stack) > 1:
            items = stack.pop()
            stack[-1].append(_dictionary(items) if token == b">>" else items)
        elif token == b"R" and len(stack[-1]) > 1 and _is_number(stack[-1][-2]):
            _, number = stack[-1].pop(), stack[-1].pop()
            stack[-1].append(Ref(int(number)) if isinstance(number, bytes) else None)
        elif not token.startswith(b"%"):
            stack[-1].append(token)
    while len(stack) > 1:  # it ends within something
        items = stack.pop()
        stack[-1].append(_dictionary(items))
    return stack[0][0] if stack[0] else None


def _dictionary(items: list[Value]) -> dict[bytes, Value]:
    return {key: value for key, value in zip(items[::2], items[1::2], strict=False) if isinstance(key, bytes)}


def _is_number(value: Value) -> bool:
    return isinstance(value, bytes) and value.isdigit() and len(value) < 10  # noqa: PLR2004
