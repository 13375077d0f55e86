r"""Bodies of Outlook messages in RTF: unpacked (MS-OXRTFCP), and the HTML that they wrap (MS-OXRTFEX)."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace

MAX_UNPACKED = 64 << 20
_COMPRESSED, _PLAIN = 0x75465A4C, 0x414C454D
_DICTIONARY = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern \\fscript \\fdecor "
    b"MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0\\blue0"
    b"\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_TOKEN = re.compile(rb"\\([a-z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-z])|([{}])|[\r\n]+|([^\\{}\r\n]+)")
_HIDDEN = frozenset(
    ("fonttbl", "colortbl", "stylesheet", "info", "pict", "header", "footer", "themedata", "datastore", "generator")
)
_CHARACTERS = {"par": "\n", "line": "\n", "tab": "\t", "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”",
               "endash": "–", "emdash": "—", "bullet": "•", "cell": "\t", "row": "\n"}  # fmt: skip

_SIGNS = {b"~": "\xa0", b"_": "‑", b"\\": "\\", b"{": "{", b"}": "}"}


def unpacked(data: bytes) -> bytes:
    """Unpack a body.

    Raises:
        ValueError: it is damaged, or too large.

    """
    if len(data) < 16:  # noqa: PLR2004 (the head)
        msg = "too short"
        raise ValueError(msg)
    _, size, kind, _ = struct.unpack_from("<IIII", data)
    if kind == _PLAIN:
        return data[16 : 16 + size]
    if kind != _COMPRESSED or size > MAX_UNPACKED:
        msg = "not a body in RTF"
        raise ValueError(msg)
    return bytes(_run(data, size))


def _run(data: bytes, size: int) -> bytearray:
    """Undo LZFu: bits of a control byte tell a literal from a reference into the last 4096 bytes."""
    window = bytearray(_DICTIONARY.ljust(4096, b"\0"))
    write, at, out = len(_DICTIONARY), 16, bytearray()
    while at < len(data) and len(out) < size:
        control, at = data[at], at + 1
        for bit in range(8):
            if at >= len(data):
                break
            if control >> bit & 1:
                if at + 1 >= len(data):
                    return out
                reference, at = data[at] << 8 | data[at + 1], at + 2
                start, length = reference >> 4, (reference & 15) + 2
                if start == write:
                    return out
                piece = bytearray()
                for step in range(length):
                    byte = window[(start + step) % 4096]
                    piece.append(byte)
                    window[write] = byte
                    write = (write + 1) % 4096
                out += piece
            else:
                out.append(data[at])
                window[write] = data[at]
                write, at = (write + 1) % 4096, at + 1
    return out


def html_of(rich: bytes) -> str:
    """Return the HTML that a body wraps; empty if it wraps none."""
    return _Reading(rich, wrapped=True).text() if rb"\fromhtml" in rich[:1000] else ""


def text_of(rich: bytes) -> str:
    """Return a body's text without its formats."""
    return _Reading(rich, wrapped=False).text()


@dataclass(slots=True)
class _State:
    """What holds inside a group."""

    hidden: bool = False
    is_tag: bool = False  # inside ``\\*\\htmltag``
    skips: int = 1  # characters after ``\\u`` that stand for it where it is not known


class _Reading:
    """Reads tokens one after the other."""

    def __init__(self, rich: bytes, *, wrapped: bool) -> None:
        self._rich = rich
        self._wrapped = wrapped
        self._codec = _codec(rich)
        self._out: list[str] = []
        self._stack: list[_State] = []
        self._state = _State()
        self._bytes = b""  # of characters that are written in hexadecimal digits
        self._skip = 0
        self._suppressed = False  # RTF that repeats what the HTML says

    def text(self) -> str:
        """Return the text, or the HTML that is wrapped."""
        starred = False
        for token in _TOKEN.finditer(self._rich):
            word, number, code, sign, brace, text = token.groups()
            if code is None:
                self._flush()
            if brace is not None:
                self._group(brace)
            elif word is not None:
                self._word(word.decode(), int(number) if number else None, starred=starred)
            elif not (self._state.hidden or self._suppressed):
                self._characters(code, sign, text)
            starred = sign == b"*"
        self._flush()
        return "".join(self._out)

    def _flush(self) -> None:
        if self._bytes:
            self._out.append(self._bytes.decode(self._codec, "replace"))
            self._bytes = b""

    def _group(self, brace: bytes) -> None:
        if brace == b"{":
            self._stack.append(replace(self._state))
        elif self._stack:
            self._state = self._stack.pop()

    def _word(self, name: str, number: int | None, *, starred: bool) -> None:
        if starred:
            self._state.is_tag = self._state.is_tag or (self._wrapped and name == "htmltag")
            self._state.hidden = self._state.hidden or not self._state.is_tag
        elif name in _HIDDEN:
            self._state.hidden = True
        elif name == "htmlrtf":
            self._suppressed = self._wrapped and number != 0
        elif name == "uc":
            self._state.skips = number if number is not None else 1
        elif not (self._state.hidden or self._suppressed):
            self._sign(name, number)

    def _sign(self, name: str, number: int | None) -> None:
        if name == "u":
            self._out.append(chr((number or 63) & 0xFFFF))
            self._skip = self._state.skips
        else:
            self._out.append(_CHARACTERS.get(name, ""))

    def _characters(self, code: bytes | None, sign: bytes | None, text: bytes | None) -> None:
        if code is not None and self._skip:
            self._skip -= 1
        elif code is not None:
            self._bytes += bytes([int(code, 16)])
        elif sign is not None:
            self._out.append(_SIGNS.get(sign, ""))
        elif text is not None:
            shown = text.decode(self._codec, "replace")
            self._out.append(shown[self._skip :])
            self._skip = max(0, self._skip - len(shown))


def _codec(rich: bytes) -> str:
    found = re.search(rb"\\ansicpg(\d{3,5})", rich[:2000])
    page = found[1].decode() if found else "1252"
    try:
        b"".decode(f"cp{page}")
    except LookupError:
        return "cp1252"
    return f"cp{page}"
