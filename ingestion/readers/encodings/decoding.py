"""Decoding bytes: files, pages, mails and records alike.

What is trusted, in this order: a byte order mark; UTF-8, if the bytes are valid UTF-8 with characters beyond ASCII; the
encoding that is declared, by the labels of the WHATWG Encoding Standard (so that ``latin1`` is Windows-1252, as
browsers read it); UTF-16 without a mark; UTF-8 with a few damaged bytes; a guess (`encoding_guess`). UTF-8 comes before
the declaration because text of another encoding is hardly ever valid UTF-8, while pages that declare Latin-1 and are
UTF-8 are met daily.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ingestion.errors import Unreadable
from ingestion.types import ReadWarning

_SAMPLE = 65_536
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\f\v\x1b\x08"))
_ISO_2022_JP = re.compile(rb"\x1b\$[@B].*?\x1b\([BJ]", re.DOTALL)
_SHORT_UTF_8 = 3  # characters beyond ASCII that a multi-byte encoding may show by chance
_DAMAGED_SHARE = 0.1  # invalid bytes for each character beyond ASCII, up to which an encoding is believed
_SHOWN = {"cp1252": "Windows-1252", "cp1250": "Windows-1250", "cp1251": "Windows-1251", "cp932": "Shift_JIS",
          "cp1253": "Windows-1253", "cp1254": "Windows-1254", "cp1257": "Windows-1257", "cp949": "EUC-KR",
          "big5hkscs": "Big5", "gb18030": "GB 18030", "koi8-u": "KOI8-U"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text, and what was guessed or lost on the way."""

    text: str
    warnings: tuple[ReadWarning, ...] = ()


def decode(data: bytes, *, declared: str = "", language: str = "simple") -> Decoded:
    """Decode bytes.

    Args:
        data: the text.
        declared: label of the encoding that a header or the text itself names, as it stands there; or empty.
        language: text search configuration of the collection; decides between encodings that fit alike.

    Raises:
        Unreadable: the bytes are no text.

    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _lossy(data, encoding)
    codec = codec_of(declared)
    if codec in {"utf-16-le", "utf-16-be"} and b"\0" in data[:_SAMPLE]:
        return _lossy(data[: len(data) & ~1], codec)
    if b"\0" in data[:_SAMPLE] or _looks_wide(data):
        return _without_nul(data, declared=declared, language=language)
    _refuse_binary(data)
    return _narrow(data, codec, declared=declared, language=language)


def codec_of(label: str) -> str | None:
    """Return Python's codec for a label of the WHATWG Encoding Standard; None for any other label."""
    from webencodings import lookup

    found = lookup(label.strip().strip("\"'")) if label else None
    name = found.codec_info.name if found and found.name not in {"replacement", "x-user-defined"} else None
    return {"gbk": "gb18030"}.get(name, name) if name else None


def _narrow(data: bytes, codec: str | None, *, declared: str, language: str) -> Decoded:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return _not_utf_8(data, codec, declared=declared, language=language)
    if codec == "iso2022_jp" or (not declared and _ISO_2022_JP.search(data)):
        return _lossy(data, "iso2022_jp_ext")
    if codec in {None, "utf-8", "utf-16-le", "utf-16-be"} or text.isascii():
        return Decoded(text)
    if _is_chance(data, text, codec or ""):
        return _lossy(data, codec or "")
    return Decoded(text, (_guessed(f"It is declared as {_label(declared)} and was read as UTF-8, which it is."),))


def _not_utf_8(data: bytes, codec: str | None, *, declared: str, language: str) -> Decoded:
    from ingestion.readers.encodings.guess import guess

    if codec not in {None, "utf-8", "utf-16-le", "utf-16-be"} and (found := _believed(data, codec or "")):
        return found
    if damaged := _believed(data, "utf-8"):
        return damaged
    best = guess(data, language=language)
    why = f"It is declared as {_label(declared)}, which it is not" if declared else "It does not say its encoding"
    found = _lossy(data, best)
    return Decoded(found.text, (_guessed(f"{why}; it was read as {_SHOWN.get(best, best)}."), *found.warnings))


def _believed(data: bytes, codec: str) -> Decoded | None:
    """Decode as declared; None if more of it is invalid than damage explains."""
    found = _lossy(data, codec)
    beyond = sum(not char.isascii() for char in found.text)
    broken = found.text.count("\ufffd")
    return found if codec.startswith("cp125") or broken <= _DAMAGED_SHARE * (beyond - broken) else None


def _lossy(data: bytes, codec: str) -> Decoded:
    try:
        return Decoded(data.decode(codec))
    except UnicodeDecodeError:
        text = data.decode(codec, "replace")
    lost = text.count("\ufffd")
    detail = f"{lost} {'place is' if lost == 1 else 'places are'} not valid in its encoding and became a sign for that."
    return Decoded(text, (ReadWarning("part-unreadable", detail),))


def _is_chance(data: bytes, text: str, codec: str) -> bool:
    """Tell whether a few characters are valid UTF-8 by chance and belong to the multi-byte encoding declared."""
    beyond = sum(not char.isascii() for char in text)
    if beyond > _SHORT_UTF_8 or codec not in {"gb18030", "big5hkscs", "cp932", "euc_jp", "cp949"}:
        return False
    return all(ord(char) < 0x0800 or char.isascii() for char in text) and "\ufffd" not in data.decode(codec, "replace")  # noqa: PLR2004 (two bytes in UTF-8)


def _refuse_binary(data: bytes) -> None:
    sample = data[:_SAMPLE]
    if len(sample.translate(None, _CONTROLS)) < 0.95 * len(sample):
        msg = "binary data, no text"
        raise Unreadable(msg)


def _looks_wide(data: bytes) -> bool:
    """Tell whether it may be UTF-16 without NULs: every other byte is one of a few, as in Chinese or Cyrillic."""
    sample = data[: _SAMPLE & ~1]
    if len(data) % 2 or len(sample) < 8 or b"\n" in sample.replace(b"\0\n", b"").replace(b"\n\0", b""):  # noqa: PLR2004
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return any(_plausible(sample.decode(codec, "replace")) for codec in ("utf-16-le", "utf-16-be"))
    return False


def _without_nul(data: bytes, *, declared: str, language: str) -> Decoded:
    """Decode UTF-16 without a byte order mark, else text with a stray NUL."""
    sample = data[: _SAMPLE & ~1]
    wide = {codec: sample.decode(codec, "replace") for codec in ("utf-16-le", "utf-16-be")}
    likely = [codec for codec, text in wide.items() if _plausible(text)]
    if likely:
        best = max(likely, key=lambda codec: _share_of_usual(wide[codec]))
        found = _lossy(data[: len(data) & ~1], best)
        return Decoded(
            found.text, (_guessed(f"It was read as {best.upper()}, which it does not say."), *found.warnings)
        )
    if sample.count(0) > len(sample) // 1000:
        msg = "binary data, no text"
        raise Unreadable(msg)
    stripped = data.replace(b"\0", b"")
    return decode(stripped, declared=declared, language=language)


def _plausible(text: str) -> bool:
    """Tell whether it is text of few scripts, all of it assigned: what bytes of another kind never give."""
    if not text or text.count("\ufffd") > len(text) // 1000 or "\0" in text or not text.strip():
        return False
    blocks = {ord(char) >> 8 for char in text}
    words = sum(char.isalnum() or char.isspace() for char in text)
    eastern = sum(0x3000 <= ord(char) <= 0x9FFF or 0xAC00 <= ord(char) <= 0xD7AF for char in text)  # noqa: PLR2004
    few = len(blocks) <= 6 or eastern > 0.6 * len(text)  # noqa: PLR2004
    return few and words > 0.7 * len(text) and any(char.isspace() and char.isascii() for char in text)


def _share_of_usual(text: str) -> int:
    return sum(char in " \n\r\t,.;:-" or "a" <= char <= "z" for char in text)


def _guessed(detail: str) -> ReadWarning:
    return ReadWarning("encoding-guessed", detail)


def _label(declared: str) -> str:
    return "".join(char for char in declared[:40] if char.isascii() and char.isprintable()) or "something odd"
