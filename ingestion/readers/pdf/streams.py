"""Finds compressed parts of a PDF that cannot be unpacked: PDFium draws nothing for them, and says nothing."""

from __future__ import annotations

import base64
import re
import zlib

_STREAM = re.compile(rb">>\s*stream\r?\n")
_PACKED = re.compile(rb"/Filter\s*\[?\s*(?:(/ASCII85Decode\s*|/A85\s*)?/(?:FlateDecode|Fl)\b|(/ASCII85Decode|/A85)\b)")
_NO_TEXT = re.compile(rb"/Image\b|/Length1\b|/Type1C\b|/CIDFontType0C\b|/OpenType\b")  # pictures, fonts
_LONGEST_HEAD = 2000  # bytes of what is written before a stream
_END = b"endstream"
_HEAD = b" obj"
_COST_OF_LETTERS = 16  # times as slow as unpacking
_BLOCK = 1 << 16
_MOST = 1 << 26  # bytes unpacked of a file; what comes after them is not checked


def damaged_streams(data: bytes) -> list[int]:
    """Return where the objects of damaged compressed streams begin; those of encrypted files are not known."""
    if b"/Encrypt" in data:
        return []
    found, left = list[int](), _MOST
    for match in _STREAM.finditer(data):
        begin = max(0, data.rfind(_HEAD, max(0, match.start() - _LONGEST_HEAD), match.start()) + len(_HEAD))
        head = data[begin : match.start()]
        packing = _PACKED.search(head)
        if packing is None or _NO_TEXT.search(head):
            continue
        end = data.find(_END, match.end())
        packed = data[match.end() : end if end >= 0 else len(data)]
        letters = packing.group(1) or packing.group(2)
        if letters:
            left -= _COST_OF_LETTERS * len(packed)
        if left <= 0:
            break
        packed = _of_letters(packed) if letters else packed
        unpacked = _unpacked(packed, left) if packed and not packing.group(2) else len(packed) or None
        if unpacked is None:
            left -= len(packed)
            found.append(begin)
        else:
            left -= unpacked
    return found


def _of_letters(packed: bytes) -> bytes:
    """Return the bytes that are written in ASCII85; none if they are not."""
    try:
        return base64.a85decode(packed.strip().removesuffix(b">").removesuffix(b"~"))
    except ValueError:
        return b""


def _unpacked(packed: bytes, most: int) -> int | None:
    """Return how many bytes a stream unpacks to, or until it is more than `most`; None if it is damaged.

    A checksum that is wrong does no harm, and neither does a lost end, which some programs leave out.
    """
    unpacker = zlib.decompressobj()
    length = 0
    rest = packed
    try:
        while rest and not unpacker.eof and length <= most:
            length += len(unpacker.decompress(rest, _BLOCK))
            rest = unpacker.unconsumed_tail
    except zlib.error as exc:
        return length if "data check" in str(exc) else None
    return length
