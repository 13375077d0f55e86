"""Outlook messages (.msg, MS-OXMSG): the letter, its people and dates, and on request its attachments.

olefile (BSD) opens the compound file; extract-msg, which reads all of the format, is GPL.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import TYPE_CHECKING

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.encodings.decoding import Decoded, decode
from ingestion.readers.html.reader import content_of, decode_page
from ingestion.readers.mail.attached import attached
from ingestion.readers.mail.files import AttachedFiles
from ingestion.readers.mail.headers import bounded_name
from ingestion.readers.mail.outlook_rtf import html_of, text_of, unpacked
from ingestion.readers.sections import Section, counted, headed, joined, merged
from ingestion.types import Extracted, Json, ReadOptions, ReadWarning

if TYPE_CHECKING:
    from olefile import OleFileIO

MAX_ATTACHMENTS = 100
MAX_DEPTH = 5  # of messages in messages
_SUBJECT, _BODY, _HTML, _RTF = "0037", "1000", "1013", "1009"
_FROM, _FROM_ADDRESS, _FROM_SMTP, _TO, _CC = "0C1A", "0C1F", "5D01", "0E04", "0E03"
_LONG_NAME, _SHORT_NAME, _CONTENT, _EMBEDDED, _MEDIA_TYPE = "3707", "3704", "3701", "3701000D", "370E"
_SUBMITTED, _DELIVERED, _CODE_PAGE, _INTERNET_CODE_PAGE = 0x00390040, 0x0E060040, 0x3FFD0003, 0x3FDE0003
_HIDDEN, _FLAGS, _IN_TEXT = 0x7FFE000B, 0x37140003, 4  # of attachments
_PICTURES = frozenset((".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".emz", ".wmz"))
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_HEADS = (("from", "From"), ("to", "To"), ("cc", "Cc"), ("date", "Date"), ("subject", "Subject"))


def read_msg(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read an Outlook message.

    Raises:
        Unreadable: it is damaged, or an Office file of another kind.

    """
    import olefile

    try:
        file = olefile.OleFileIO(io.BytesIO(data))
    except (OSError, ValueError, IndexError, struct.error, TypeError) as exc:
        msg = "a damaged Outlook message"
        raise Unreadable(msg) from exc
    with file:
        files = AttachedFiles(options)
        message = _Message(file, (), options, files)
        if not message.is_one():
            msg = "an old Office file or a damaged Outlook message; save it as .eml, .docx, .pptx or .xlsx"
            raise Unreadable(msg)
        letter = message.read(0)
    title = letter.subject or name_as_title(name)
    body = letter.body
    if body.text or "attachments" in letter.metadata:
        body = joined([letter.heads(), body]) if letter.heads().text else Section(body.text or title)
    return Extracted(
        body.text,
        title=title,
        metadata=letter.metadata,
        headings=body.headings,
        warnings=merged([*letter.warnings, *files.said()]),
        attachments=files.found,
    )


@dataclass(frozen=True, slots=True)
class _Letter:
    subject: str
    metadata: dict[str, Json]
    body: Section
    warnings: list[ReadWarning]

    def heads(self) -> Section:
        """Return who wrote it to whom, when, and of what, one a line."""
        values = {**self.metadata, "subject": self.subject}
        return Section("\n".join(f"{shown}: {values[key]}" for key, shown in _HEADS if values.get(key)))


class _Message:
    """A storage of the file that is a message."""

    def __init__(self, file: OleFileIO, place: tuple[str, ...], options: ReadOptions, files: AttachedFiles) -> None:
        self._file = file
        self._files = files
        self._place = place
        self._options = options
        self._warnings: list[ReadWarning] = []
        self._made_up: list[Json] = []  # names
        self._numbers = self._fixed(place, head=24 if place else 32)
        page = self._numbers.get(_INTERNET_CODE_PAGE) or self._numbers.get(_CODE_PAGE) or 0
        self._charset = "utf-8" if page == 65001 else f"windows-{page}" if 1250 <= page <= 1258 else ""  # noqa: PLR2004

    def is_one(self) -> bool:
        """Tell whether there is a message in the storage."""
        return any(entry[-1].startswith("__substg1.0_") for entry in self._entries())

    def read(self, depth: int) -> _Letter:
        """Return the message; of messages within it, those up to a depth."""
        body = joined([self._body(), *self._attachments(depth)])
        subject = one_line(self._string(_SUBJECT))
        names: list[Json] = [*(name for _, name, _ in self._attached() if name), *self._made_up]
        metadata = self._people() | ({"attachments": names} if names else {})
        return _Letter(subject, metadata, body, self._warnings)

    def _people(self) -> dict[str, Json]:
        sender, address = (
            one_line(self._string(_FROM)),
            one_line(self._string(_FROM_SMTP) or self._string(_FROM_ADDRESS)),
        )
        address = address if "@" in address else ""  # else an address of Exchange's directory
        sender = f"{sender} <{address}>" if sender and address and sender != address else sender or address
        sent = self._numbers.get(_SUBMITTED) or self._numbers.get(_DELIVERED)
        found = {
            "from": sender,
            "to": one_line(self._string(_TO), limit=1000),
            "cc": one_line(self._string(_CC), limit=1000),
        }
        kept: dict[str, Json] = {key: value for key, value in found.items() if value}
        return kept | ({"date": _instant(sent)} if sent else {})

    def _body(self) -> Section:
        """Return the text: plain, unless there is none; then that of the HTML or RTF body."""
        plain = clean(self._string(_BODY))
        if plain.strip():
            return Section(plain.strip())
        html = self._stream(f"{_HTML}0102")
        page = self._kept(decode_page(html, language=self._options.language)) if html else self._string(_HTML)
        if page.strip():
            text, _, headings = content_of(page)
            return Section(text, headings)
        return self._rich()

    def _rich(self) -> Section:
        packed = self._stream(f"{_RTF}0102")
        if not packed:
            return Section("")
        try:
            rich = unpacked(packed)
        except ValueError:
            self._warnings.append(ReadWarning("part-unreadable", "Its text is damaged."))
            return Section("")
        page = html_of(rich)
        if page.strip():
            text, _, headings = content_of(page)
            return Section(text, headings)
        return Section(clean(text_of(rich)).strip())

    def _attachments(self, depth: int) -> Iterator[Section]:
        unread: list[str] = []
        pictures = 0
        for count, (place, name, is_message) in enumerate(self._attached()):
            if self._files.wanted and not is_message and self._is_in_text(place, name):
                pictures += 1
            elif self._files.wanted and not is_message:
                self._take(place, name)
            elif count >= MAX_ATTACHMENTS:
                unread.append(name or "a file without a name")
            elif is_message and depth < MAX_DEPTH:
                inner = _Message(self._file, (*place, f"__substg1.0_{_EMBEDDED}"), self._options, self._files).read(
                    depth + 1
                )
                self._warnings += inner.warnings
                yield headed(inner.subject or name or "Message", joined([inner.heads(), inner.body]))
            elif (self._options.attachments == "sections" or _is_text(name)) and name and not is_message:
                yield from attached(
                    PurePath(name), self._stream(f"{_CONTENT}0102", place) or b"", self._options, self._warnings
                )
            else:
                unread.append(name or "a file without a name")
        if pictures:
            what = counted(pictures, "picture in the letter was", "pictures in the letter were")
            self._warnings.append(ReadWarning("picture-not-read", f"{what} not read."))
        if unread:
            names = ", ".join(unread[:10]) + (" and more" if len(unread) > 10 else "")  # noqa: PLR2004
            what = counted(len(unread), "attachment was", "attachments were")
            self._warnings.append(ReadWarning("attachment-not-read", f"{what} not read: {names}."))

    def _is_in_text(self, place: tuple[str, ...], name: str) -> bool:
        """Tell whether an attachment is a picture that Outlook shows within the text."""
        flags = self._fixed(place, head=8)
        shown = flags.get(_HIDDEN, 0) & 0xFF or flags.get(_FLAGS, 0) & _IN_TEXT
        return bool(shown) and PurePath(name).suffix.lower() in _PICTURES

    def _take(self, place: tuple[str, ...], name: str) -> None:
        link: dict[str, Json] = {f"mail_{key}": value for key, value in self._people().items() if key != "cc"}
        subject = one_line(self._string(_SUBJECT))
        taken = self._files.take(
            name,
            self._stream(f"{_CONTENT}0102", place) or b"",
            media_type=one_line(self._string(_MEDIA_TYPE, place), limit=100).lower() or "application/octet-stream",
            message=link | ({"mail_subject": subject} if subject else {}),
        )
        self._made_up += [] if name else [taken]

    def _attached(self) -> list[tuple[tuple[str, ...], str, bool]]:
        """Return place, name, and whether it is a message, of each attachment."""
        here = len(self._place)
        folders = dict.fromkeys(
            entry[here] for entry in self._entries() if entry[here].startswith("__attach_version1.0_")
        )
        found = []
        for folder in folders:
            place = (*self._place, folder)
            name = bounded_name(self._string(_LONG_NAME, place) or self._string(_SHORT_NAME, place))
            is_message = any(entry[: here + 2] == [*place, f"__substg1.0_{_EMBEDDED}"] for entry in self._entries())
            found.append((place, name, is_message))
        return found

    def _entries(self) -> list[list[str]]:
        here = list(self._place)
        return [
            entry for entry in self._file.listdir(streams=True) if entry[: len(here)] == here and len(entry) > len(here)
        ]

    def _string(self, tag: str, place: tuple[str, ...] | None = None) -> str:
        wide = self._stream(f"{tag}001F", place)
        if wide is not None:
            return wide.decode("utf-16-le", "replace").rstrip("\0")
        narrow = self._stream(f"{tag}001E", place)
        if narrow is None or not narrow.strip(b"\0"):
            return ""
        try:
            return self._kept(decode(narrow.rstrip(b"\0"), declared=self._charset, language=self._options.language))
        except Unreadable:
            return ""

    def _kept(self, decoded: Decoded) -> str:
        self._warnings += decoded.warnings
        return decoded.text

    def _stream(self, tag: str, place: tuple[str, ...] | None = None) -> bytes | None:
        path = [*(self._place if place is None else place), f"__substg1.0_{tag}"]
        try:
            return bytes(self._file.openstream(path).read()) if self._file.exists(path) else None
        except (OSError, ValueError, IndexError, struct.error):
            self._warnings.append(ReadWarning("part-unreadable", "A part of the message is damaged."))
            return None

    def _fixed(self, place: tuple[str, ...], *, head: int) -> dict[int, int]:
        """Return the properties of a fixed length: 16 bytes each, after a head."""
        path = [*place, "__properties_version1.0"]
        try:
            data = self._file.openstream(path).read() if self._file.exists(path) else b""
        except (OSError, ValueError, IndexError, struct.error):
            return {}
        entries = (
            struct.iter_unpack("<IIQ", data[head : len(data) - (len(data) - head) % 16]) if len(data) > head else ()
        )
        return {tag: value if tag & 0xFFFF == 0x40 else value & 0xFFFFFFFF for tag, _, value in entries}  # noqa: PLR2004 (a time)


def _is_text(name: str) -> bool:
    """Tell whether an attachment is text, which belongs to the letter as in other mails."""
    return PurePath(name).suffix.lower() in {".txt", ".text", ".md", ".csv", ".html", ".htm"}


def _instant(ticks: int) -> str:
    """Return a time of Windows (tenths of a microsecond since 1601) as ISO 8601."""
    try:
        return (_EPOCH + timedelta(microseconds=ticks // 10)).replace(microsecond=0).isoformat()
    except OverflowError:
        return ""
