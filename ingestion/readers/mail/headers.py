"""Headers of mails as text, whatever their bytes are (RFC 2047, and what mailers write instead)."""

from __future__ import annotations

import base64
import binascii
import quopri
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import one_line
from ingestion.readers.encodings.decoding import decode
from ingestion.types import Json

MAX_NAME = 200  # characters
_WORD = re.compile(r"=\?([^?\s]{1,40})\?([bBqQ])\?([^?]*)\?=")
_ZONE = re.compile(r"\s*([+-]\d\d:?\d\d|Z)(?:\s*\([^()]*\))?\Z")  # with blanks before it, or a comment behind it
_NAMING = ("content-disposition", "content-type")
_BETWEEN = re.compile(r"(\?=)\s+(=\?)")


def header(message: Message, name: str, *, language: str = "simple", limit: int = 1000) -> str:
    """Return a header on one line, its encoded words and bytes decoded; empty if there is none."""
    raw = next((value for key, value in message.raw_items() if key.lower() == name), "")
    return one_line(_words(_text(str(raw), language), language), limit=limit)


def sent_at(message: Message) -> str | None:
    """Return the date as an ISO 8601 timestamp with its offset; None if it has none that can be read."""
    date = _date(header(message, "date"))
    if date is None:
        return None
    try:
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).isoformat()  # RFC 5322: -0000 is UTC
    except (ValueError, OverflowError):  # an offset of more than a day
        return None


def link_to(message: Message, *, language: str = "simple") -> dict[str, Json]:
    """Return what tells a message apart, for what is attached to it: subject, sender, receivers, date."""
    found = {
        "mail_subject": header(message, "subject", language=language, limit=300),
        "mail_from": header(message, "from", language=language),
        "mail_to": header(message, "to", language=language),
        "mail_date": sent_at(message),
    }
    return {key: value for key, value in found.items() if value}


def file_name(part: Message, *, language: str = "simple") -> str:
    """Return the name of a part's file, without folders; empty if it has none."""
    try:
        name = _decoded_parameters(part, language).get_filename() or ""
    except (LookupError, ValueError, TypeError, AttributeError, IndexError):  # broken parameters
        name = ""
    return bounded_name(_words(_text(name, language), language))


def _decoded_parameters(part: Message, language: str) -> Message:
    """Return the part, or, where bytes beyond ASCII stand in the headers that name its file, these alone, decoded."""
    raw = {name.lower(): str(value) for name, value in part.raw_items() if name.lower() in _NAMING}
    if all(value.isascii() for value in raw.values()):
        return part
    held = Message()
    for name, value in raw.items():
        held[name] = _text(value, language)
    return held


def bounded_name(name: str) -> str:
    """Return a file's name on one line, without folders, at most 200 characters and with its suffix."""
    shown = re.split(r"[/\\]", one_line(name, limit=4 * MAX_NAME))[-1]
    suffix = PurePath(shown).suffix
    return shown if len(shown) <= MAX_NAME else f"{shown[: MAX_NAME - len(suffix[:20]) - 1]}…{suffix[:20]}"


def _date(text: str) -> datetime | None:
    """Return a date as RFC 5322 has it, or as ISO 8601 (``2024-10-01 19:00:00 +0200``), which programs write, too.

    ISO 8601 comes first: the parser of the former makes other dates of it, without a word.
    """
    with suppress(ValueError):
        return datetime.fromisoformat(_ZONE.sub(r"\1", text.strip()))
    with suppress(ValueError, TypeError, OverflowError, IndexError):
        return parsedate_to_datetime(text)
    return None


def _text(raw: str, language: str) -> str:
    """Return a header's text; bytes beyond ASCII, which the parser keeps as lone surrogates, are decoded."""
    if raw.isascii():
        return raw
    try:
        data = raw.encode("ascii", "surrogateescape")
    except UnicodeEncodeError:
        return raw
    try:
        return decode(data, language=language).text
    except Unreadable:
        return data.decode("ascii", "replace")


def _words(text: str, language: str) -> str:
    """Decode encoded words; neighbours of one charset are joined first, as mailers cut characters in two."""
    if "=?" not in text:
        return text
    return "".join(_pieces(_BETWEEN.sub(r"\1\2", text), language))


def _pieces(text: str, language: str) -> Iterator[str]:
    end, pending, charset = 0, b"", ""
    for word in _WORD.finditer(text):
        label = word[1].partition("*")[0].lower()
        if pending and (word.start() > end or label != charset):
            yield _decoded(pending, charset, language)
            pending = b""
        yield text[end : word.start()]
        pending, charset, end = pending + _bytes(word), label, word.end()
    if pending:
        yield _decoded(pending, charset, language)
    yield text[end:]


def _bytes(word: re.Match[str]) -> bytes:
    coded = word[3].encode("utf-8", "replace")
    if word[2] in "qQ":
        return quopri.decodestring(coded, header=True)
    try:
        return base64.b64decode(coded + b"=" * (-len(coded) % 4))
    except (binascii.Error, ValueError):
        return coded


def _decoded(data: bytes, charset: str, language: str) -> str:
    try:
        return decode(data, declared="" if charset in {"us-ascii", "ascii"} else charset, language=language).text
    except Unreadable:
        return data.decode("utf-8", "replace")
