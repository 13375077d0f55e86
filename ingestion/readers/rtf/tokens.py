"""Cuts RTF into braces, control words and bytes of text, without recursion and in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

_TOKEN = re.compile(
    rb"(?P<brace>[{}])|\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?|\\'(?P<hex>[0-9a-fA-F]{2})"
    rb"|\\(?P<sign>[^a-zA-Z])|(?P<end>[\r\n\0]+)|(?P<text>[^\\{}\r\n\0]+)|(?P<odd>\\)",
    re.DOTALL,
)


class Token(NamedTuple):
    """A piece of RTF: its kind, its word or bytes, and the number behind a word."""

    kind: Literal["open", "close", "word", "sign", "bytes"]
    text: bytes
    number: int | None = None


def tokens(data: bytes) -> Iterator[Token]:
    r"""Yield the pieces; the bytes behind ``\bin`` are left out."""
    at = 0
    while at < len(data):
        match = _TOKEN.match(data, at)
        if match is None:
            return
        at = match.end()
        kind = match.lastgroup
        if kind == "brace":
            yield Token("open" if match["brace"] == b"{" else "close", b"")
        elif match["word"]:
            number = int(match["number"]) if match["number"] else None
            if match["word"] == b"bin" and number and number > 0:
                at += number
            else:
                yield Token("word", match["word"], number)
        elif kind == "hex":
            yield Token("bytes", bytes([int(match["hex"], 16)]))
        elif kind == "sign":
            yield Token("sign", match["sign"])
        elif kind == "text":
            yield Token("bytes", match["text"])
