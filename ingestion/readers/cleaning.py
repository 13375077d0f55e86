"""Decoding bytes, and normalising text as `ingestion.types.Extracted` requires."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import PurePath

from ingestion.errors import Unreadable

MAX_TITLE = 300
_SAMPLE = 65_536
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# control characters, soft hyphens, byte order marks inside, halves of surrogate pairs
_UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\ufeff\ufffe\uffff\ud800-\udfff]")
# no script stacks more combining marks; normalising takes quadratic time in their number
_PILES = re.compile("([\u0300-\u036f]{32})[\u0300-\u036f]+")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\v\x1b\x08"))


def decode(data: bytes) -> str:
    """Decode bytes by byte order mark, as UTF-8, as UTF-16, else by statistical detection.

    Raises:
        Unreadable: the bytes are not text, or in an unknown encoding.

    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if b"\0" in data[:_SAMPLE]:
        return _decode_wide(data)
    if len(data[:_SAMPLE].translate(None, _CONTROLS)) < 0.95 * len(data[:_SAMPLE]):
        msg = "binary data, no text"
        raise Unreadable(msg)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return _decode_damaged(data) or _decode_by_statistics(data)


def clean(text: str) -> str:
    """Return the text in NFC with line feeds as line ends, without control characters or lone surrogates."""
    text = _PILES.sub(r"\1", _UNWANTED.sub("", _LINE_ENDS.sub("\n", text)))
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def one_line(text: object, *, limit: int = MAX_TITLE) -> str:
    """Return a cleaned text on one line, cut at a word to `limit` characters."""
    line = " ".join(clean(str(text)[: 8 * limit]).split())
    if len(line) <= limit:
        return line
    return line[: limit - 1].rsplit(" ", 1)[0] + "…"


def name_as_title(name: PurePath, *, suffix: bool = False) -> str:
    """Return a file's name for display; bytes that are not UTF-8 become ``�``. Never empty."""
    shown = os.fsencode(name.name if suffix else name.stem).decode("utf-8", "replace")
    return one_line(shown) or "untitled"


def _decode_wide(data: bytes) -> str:
    """Decode UTF-16 without a byte order mark: in Latin script every other byte is zero."""
    sample = data[: _SAMPLE & ~1]
    zeros = sample.count(0)
    for encoding, place in (("utf-16-le", 1), ("utf-16-be", 0)):
        if zeros > len(sample) // 5 and sample[place::2].count(0) > 0.9 * zeros:
            text = data[: len(data) & ~1].decode(encoding, "replace")
            if text.count("\ufffd") <= len(text) // 1000 and "\0" not in text[:_SAMPLE]:
                return text
    if zeros <= len(sample) // 1000:
        return decode(data.replace(b"\0", b""))
    msg = "binary data, no text"
    raise Unreadable(msg)


def _decode_damaged(data: bytes) -> str | None:
    """Decode UTF-8 with a few invalid bytes, for example a truncated log; None if it does not look like UTF-8."""
    text = data.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    beyond_ascii = len(text) - len(text.encode("ascii", "ignore"))
    return text if beyond_ascii > 10 * broken else None


def _decode_by_statistics(data: bytes) -> str:
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE]).best()
    if best is None:
        msg = "binary data, or text in an encoding that cannot be told; save it as UTF-8"
        raise Unreadable(msg)
    return data.decode(best.encoding, "replace")
