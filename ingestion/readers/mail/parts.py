"""The parts of a message: which are its text, in which form, and which are attachments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesParser
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean
from ingestion.readers.encodings.decoding import Decoded, decode
from ingestion.readers.html.reader import content_of, decode_page
from ingestion.readers.kinds import refusal
from ingestion.readers.mail.attached import attached
from ingestion.readers.mail.files import AttachedFiles
from ingestion.readers.mail.headers import file_name, header, link_to
from ingestion.readers.pictures.within import PicturesWithin
from ingestion.readers.sections import Section, counted, headed, joined, merged
from ingestion.types import Json, ReadOptions, ReadWarning

MAX_DEPTH = 20  # of parts within parts
MAX_PARTS = 2000
MAX_ATTACHMENTS = 100  # that are read
_STUB = 0.5  # of the words of a richer form that a plainer one must have not to be a stub
_ALIKE = 0.8  # of the words of a plainer form that a page has which is that form and more
_MORE = 0.2  # of the words of such a page, which the plainer form lacks: a table, say
_FEW_WORDS = 3  # of a page's footer, say
_PAGES = frozenset(("text/html", "multipart/related", "multipart/mixed"))
_WORDS = re.compile(r"\w+")
_SIGNATURES = frozenset(("application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"))
_ENCRYPTED = frozenset(("application/pkcs7-mime", "application/x-pkcs7-mime", "application/pgp-encrypted"))
_RICH_SUFFIXES = frozenset((".csv", ".tsv", ".md", ".markdown", ".html", ".htm", ".json", ".rst", ".srt", ".vtt"))
_REPORTS = frozenset(("message/delivery-status", "message/disposition-notification", "message/global-delivery-status"))
_FORWARDED = ("From", "To", "Cc", "Date", "Subject")


class Letter:
    """Takes a message apart; after `sections`, `said`, `metadata` and `files` tell what else there is."""

    def __init__(self, options: ReadOptions, files: AttachedFiles, pictures: PicturesWithin) -> None:
        self._options = options
        self._within = pictures
        self._files = files
        self._message: dict[str, Json] = {}  # that is being taken apart
        self._texts = self._alternatives = 0
        self._warnings: list[ReadWarning] = []
        self._names: list[str] = []
        self._unread: list[str] = []
        self._pictures = 0
        self._parts = 0
        self._read = 0
        self._signed = False
        self.is_encrypted = False

    def sections(self, message: Message) -> list[Section]:
        """Return the text of a message in the order of its parts."""
        self._message = link_to(message, language=self._options.language)
        return list(self._sections(message, 0))

    def heads(self, message: Message) -> Section:
        """Return the headers of a message inside the text, one a line."""
        language = self._options.language
        lines = [f"{name}: {header(message, name.lower(), language=language)}" for name in _FORWARDED]
        return Section("\n".join(line for line in lines if not line.endswith(": ")))

    def metadata(self) -> dict[str, Json]:
        """Return the names of attachments, and whether the message is signed."""
        names: dict[str, Json] = {"attachments": list(self._names)} if self._names else {}
        return names | ({"signed": True} if self._signed else {})

    def said(self) -> tuple[ReadWarning, ...]:
        """Return what was not read or guessed."""
        warnings = list(self._warnings)
        if self._unread:
            names = ", ".join(self._unread[:10]) + (" and more" if len(self._unread) > 10 else "")  # noqa: PLR2004
            what = counted(len(self._unread), "attachment was", "attachments were")
            warnings.append(ReadWarning("attachment-not-read", f"{what} not read: {names}."))
        if self._pictures:
            what = counted(self._pictures, "picture in the letter was", "pictures in the letter were")
            warnings.append(ReadWarning("picture-not-read", f"{what} not read."))
        return merged(warnings)

    def _sections(self, part: Message, depth: int) -> Iterator[Section]:
        self._parts += 1
        if depth > MAX_DEPTH or self._parts > MAX_PARTS:
            self._warn("Parts nested too deeply, or beyond the number that is read, were left out.")
            return
        kind = part.get_content_type()
        if kind == "message/rfc822" or (kind == "message/global" and part.is_multipart()):
            yield from self._forwarded(part, depth)
        elif kind == "multipart/alternative" and part.is_multipart():
            yield from self._best(_inner(part), depth)
        elif kind == "multipart/encrypted":
            self._encrypted("It is encrypted and was not decrypted.")
        elif kind in _REPORTS and part.is_multipart():
            yield from (Section(_fields(inner)) for inner in _inner(part))
        elif part.is_multipart():
            self._signed = self._signed or kind == "multipart/signed"
            for inner in _inner(part):
                yield from self._sections(inner, depth + 1)
        else:
            yield from self._leaf(part, kind)

    def _forwarded(self, part: Message, depth: int) -> Iterator[Section]:
        for inner in _inner(part) if not _is_encoded(part) else [_decoded_message(part)]:
            subject = header(inner, "subject", language=self._options.language, limit=200) or "Forwarded message"
            outer, self._message = self._message, link_to(inner, language=self._options.language)
            yield headed(subject, joined([self.heads(inner), *self._sections(inner, depth + 1)]))
            self._message = outer

    def _best(self, parts: list[Message], depth: int) -> Iterator[Section]:
        """Yield one form of the text: the plainest, unless it is a stub."""
        before = list(self._warnings)
        self._alternatives += 1
        forms: list[tuple[Section, list[ReadWarning]]] = []
        for part in parts:
            self._warnings = []
            forms.append((joined(list(self._sections(part, depth + 1))), self._warnings))
        self._warnings = before
        self._alternatives -= 1
        pages = [part.get_content_type() in _PAGES for part in parts]
        best = _fullest([section.text for section, _ in forms], pages)
        if best is not None:
            section, said = forms[best]
            self._warnings += said
            yield section

    def _leaf(self, part: Message, kind: str) -> Iterator[Section]:
        name = file_name(part, language=self._options.language)
        self._within.has_part(header(part, "content-id"))
        main, attached = kind.partition("/")[0], _is_attached(part)
        if kind in _SIGNATURES:
            self._signed = True
        elif kind in _ENCRYPTED or name.lower() == "smime.p7m":
            self._encrypted("A part is encrypted, or signed so that its text is inside the signature.")
        elif main == "image" and _disposition(part) != "attachment":
            self._names += [name] if name else []
            yield from self._picture(part)
        elif self._files.wanted and self._is_file(part, main, name):
            self._names.append(self._take(part, kind, name))
        elif _is_text_by_name(kind, name) or (
            main in {"text", "message", "multipart"} and not (attached and self._is_other_kind(name))
        ):
            yield from self._text(part, kind, name if attached else "")
        else:
            yield from self._attachment(part, name or f"a part of type {kind[:60]}", named=bool(name))

    def _picture(self, part: Message) -> Iterator[Section]:
        """Yield the text of a picture in the letter, if that is to be read."""
        if self._within.wanted:
            data = _payload(part)
            yield Section(self._within.text_of(data, lambda: data))
        else:
            self._pictures += 1

    def _is_file(self, part: Message, main: str, name: str) -> bool:
        """Tell whether a part is a document of its own: neither the letter's text, nor text of an unknown suffix."""
        if main not in {"text", "message", "multipart"}:
            return True
        if main != "text" or refusal(PurePath(name)) is not None:
            return False
        if _disposition(part) == "attachment" or self._is_other_kind(name):
            return True
        return bool(name) and self._texts > 0 and not self._alternatives

    def _take(self, part: Message, kind: str, name: str) -> str:
        charset = _charset(part) if kind.startswith("text/") else ""
        return self._files.take(name, _payload(part), media_type=kind, message=self._message, charset=charset)

    def _is_other_kind(self, name: str) -> bool:
        """Tell whether a text part is named as something that is no text, ``report.pdf`` say."""
        from ingestion.readers.kinds import KIND_OF_SUFFIX

        return KIND_OF_SUFFIX.get(PurePath(name).suffix.lower(), "plain") in {
            "pdf",
            "docx",
            "pptx",
            "xlsx",
            "epub",
            "msg",
        }

    def _text(self, part: Message, kind: str, name: str) -> Iterator[Section]:
        """Yield an inline text, or an attached one under its name."""
        self._names += [name] if name else []
        data = _payload(part)
        if not data.strip():
            return
        self._texts += 1
        if name and PurePath(name).suffix.lower() in _RICH_SUFFIXES:
            yield from self._by_reader(PurePath(name), data)
            return
        try:
            section = self._section(part, data, kind)
        except Unreadable as exc:
            self._warn(f"A part of type {kind[:60]} was not read: {exc}.")
            return
        yield headed(name, section) if name and section.text.strip() else section

    def _section(self, part: Message, data: bytes, kind: str) -> Section:
        language, declared = self._options.language, _charset(part)
        if kind == "text/html":
            page = (
                decode(data, declared=declared, language=language) if declared else decode_page(data, language=language)
            )
            text, _, headings = content_of(self._kept(page), pictures=self._within)
            return Section(text, headings)
        text = clean(self._kept(decode(data, declared=declared, language=language)))
        flowed = str(part.get_param("format", "")).lower() == "flowed"
        return Section(unfolded(text, delete=str(part.get_param("delsp", "")).lower() == "yes") if flowed else text)

    def _kept(self, decoded: Decoded) -> str:
        self._warnings += decoded.warnings
        return decoded.text

    def _attachment(self, part: Message, name: str, *, named: bool) -> Iterator[Section]:
        if named:
            self._names.append(name)
        if self._options.attachments != "sections" or not named or self._read >= MAX_ATTACHMENTS:
            self._unread.append(name)
            return
        yield from self._by_reader(PurePath(name), _payload(part))

    def _by_reader(self, name: PurePath, data: bytes) -> Iterator[Section]:
        self._read += 1
        yield from attached(name, data, self._options, self._warnings)

    def _encrypted(self, detail: str) -> None:
        self.is_encrypted = True
        self._warn(detail)

    def _warn(self, detail: str) -> None:
        self._warnings.append(ReadWarning("part-unreadable", detail))


def unfolded(text: str, *, delete: bool) -> str:
    """Join the lines of a paragraph that was sent as format=flowed (RFC 3676); `delete` the blank at their ends."""
    out: list[str] = []
    depth_before, open_line = 0, False
    for line in text.split("\n"):
        body = line.lstrip(">")
        depth = len(line) - len(body)
        body = body.removeprefix(" ")
        if open_line and depth == depth_before and body != "-- ":
            out[-1] = (out[-1][:-1] if delete else out[-1]) + body
        else:
            out.append(f"{'>' * depth} {body}" if depth else body)
        depth_before, open_line = depth, body.endswith(" ") and body != "-- "
    return "\n".join(out)


def _fullest(texts: list[str], pages: list[bool]) -> int | None:
    """Return which text to take, of forms from the plainest to the richest (RFC 2046): the first that is no stub.

    Nor is it one that a page (`pages` tells which these are) repeats with much more.
    """
    words = [_WORDS.findall(text.lower()) for text in texts]
    filled = [at for at, found in enumerate(words) if found]
    for at in filled:
        own = set(words[at])
        richer = [set(words[other]) for other in filled if other > at]
        fuller = [set(words[other]) for other in filled if other > at and pages[other]]
        if any(_has_much_more(own, other) for other in fuller):
            continue
        if all(len(own & other) >= _STUB * len(other) or len(words[at]) > 2 * len(other) for other in richer):
            return at
    return None


def _has_much_more(own: set[str], other: set[str]) -> bool:
    return len(own & other) >= _ALIKE * len(own) and len(other - own) > max(_FEW_WORDS, _MORE * len(other))


def _inner(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [inner for inner in payload if isinstance(inner, Message)] if isinstance(payload, list) else []


def _is_encoded(part: Message) -> bool:
    """Tell whether a forwarded message is in base64 or quoted-printable, which RFC 2046 forbids and mailers do."""
    return str(part.get("Content-Transfer-Encoding", "")).strip().lower() in {"base64", "quoted-printable"}


def _decoded_message(part: Message) -> Message:
    """Return a forwarded message whose transfer encoding the parser did not undo."""
    held = Message()
    held["Content-Transfer-Encoding"] = str(part.get("Content-Transfer-Encoding"))
    inner = "\n".join(each.as_string() for each in _inner(part))
    held.set_payload(inner.strip().encode("ascii", "ignore").decode())
    data = _payload(held)
    message: Message = BytesParser(policy=part.policy).parsebytes(data)
    return message


def _fields(part: Message) -> str:
    """Return the headers of a part as text, which is all that a report of a delivery has."""
    return clean("\n".join(f"{name}: {' '.join(str(value).split())}" for name, value in part.items()))


def _payload(part: Message) -> bytes:
    try:
        payload = part.get_payload(decode=True)
    except (ValueError, LookupError, AttributeError, TypeError):  # what is broken in the transfer encoding
        payload = str(part.get_payload()).encode("utf-8", "surrogateescape")
    return payload if isinstance(payload, bytes) else b""


def _charset(part: Message) -> str:
    """Return the declared charset; empty for ASCII, which is what mailers write that do not know."""
    try:
        charset = part.get_content_charset() or ""
    except (LookupError, ValueError, TypeError, AttributeError, UnicodeError):
        return ""
    return "" if charset in {"us-ascii", "ascii", "ansi_x3.4-1968"} else charset


def _is_text_by_name(kind: str, name: str) -> bool:
    """Tell whether a part of no type that says anything is named as a text is, ``readme.md`` say."""
    return kind == "application/octet-stream" and PurePath(name).suffix.lower() in {".txt", ".log", *_RICH_SUFFIXES}


def _is_attached(part: Message) -> bool:
    try:
        return _disposition(part) == "attachment" or bool(part.get_filename())
    except (LookupError, ValueError, TypeError, AttributeError, IndexError):
        return False


def _disposition(part: Message) -> str:
    try:
        return part.get_content_disposition() or ""
    except (LookupError, ValueError, TypeError, AttributeError, IndexError):
        return ""
