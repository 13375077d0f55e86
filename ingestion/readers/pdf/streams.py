"""Finds compressed parts of a PDF that cannot be unpacked: PDFium draws nothing for them, and says nothing."""

from __future__ import annotations

import base64
import re
import zlib

_STREAM = re.compile(rb">>\s*stream\r?\n")
_PACKED = re.compile(rb"/Filter\s*\[?\s*(/ASCII85Decode\s*|/A85\s*)?/(?:FlateDecode|Fl)\b")
_NO_TEXT = re.compile(rb"/Image\b|/Length1\b|/Type1C\b|/CIDFontType0C\b|/OpenType\b")  # pictures, fonts
_LONGEST_HEAD = 2000  # bytes of what is written before a stream
_END = b"endstream"
_COST_OF_LETTERS = 16  # times as slow as unpacking
_BLOCK = 1 << 16
_MOST = 1 << 26  # bytes unpacked of a file; what comes after them is not checked


def damaged_streams(data: bytes) -> int:
    """Count the streams of a file whose compressed bytes are damaged; those of encrypted files are not known."""
    if b"/Encrypt" in data:
        return 0
    count, left = 0, _MOST
    for match in _STREAM.finditer(data):
        head = data[max(0, data.rfind(b" obj", max(0, match.start() - _LONGEST_HEAD), match.start())) : match.start()]
        packing = _PACKED.search(head)
        if packing is None or _NO_TEXT.search(head):
            continue
        end = data.find(_END, match.end())
        packed = data[match.end() : end if end >= 0 else len(data)]
        if packing.group(1):
            left -= _COST_OF_LETTERS * len(packed)
        if left <= 0:
            break
        unpacked = _unpacked(_of_letters(packed) if packing.group(1) else packed, left)
        if unpacked is None:
            count += 1
        else:
            left -= unpacked
    return count


def _of_letters(packed: bytes) -> bytes:
    """Return the bytes that are written in ASCII85; none, which are damaged, if they are not."""
    try:
        return base64.a85decode(packed.strip().removesuffix(b">").removesuffix(b"~"))
    except ValueError:
        return b"damaged"


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
