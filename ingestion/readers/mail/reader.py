"""E-mail (RFC 5322 and MIME): the letter, what was forwarded with it, and by setting its attachments."""

from __future__ import annotations

import email
import email.policy
import re
from email.message import Message
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import name_as_title
from ingestion.readers.mail.files import AttachedFiles
from ingestion.readers.mail.headers import header, sent_at
from ingestion.readers.mail.parts import Letter
from ingestion.readers.pictures.within import PicturesWithin
from ingestion.readers.sections import Section, headed, joined, merged
from ingestion.types import Extracted, Json, ReadOptions, ReadWarning

_HEADERS = ("from", "to", "cc", "date")
_BORDER = re.compile(rb"(?:\A|(?<=\n)\r?\n|(?<=\n))From [^\r\n]{3,200}\d{4}[^\r\n]{0,20}\r?\n(?=[!-9;-~]{1,80}:)")
MAX_MESSAGES = 20_000  # of one mailbox


def read_mail(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a message: its main headers and all its inline text, forwarded messages as sections.

    Sender, recipients and date are metadata, too.

    Raises:
        Unreadable: it has no headers, or is encrypted as a whole.

    """
    message = _parsed(data)
    if not message.keys():
        msg = "not an e-mail, though it is named so"
        raise Unreadable(msg)
    files = AttachedFiles(options)
    pictures = PicturesWithin(options)
    letter = Letter(options, files, pictures)
    body = joined(letter.sections(message))
    if not body.text and letter.is_encrypted:
        msg = "an encrypted e-mail; save it decrypted"
        raise Unreadable(msg)
    title = header(message, "subject", language=options.language, limit=300) or name_as_title(name)
    metadata = _metadata(message, options.language) | letter.metadata()
    if body.text or "attachments" in metadata:  # scanners send these alone
        body = joined([letter.heads(message), body])
    if not body.text and "attachments" in metadata:
        body = Section(title)
    return Extracted(
        body.text,
        title=title,
        metadata=metadata,
        headings=body.headings,
        warnings=merged([*letter.said(), *files.said(), *pictures.said()]),
        attachments=files.found,
    )


def read_mailbox(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a mailbox (mbox, RFC 4155): each message is a section under its subject."""
    starts = [border.end() for border in _BORDER.finditer(data)]
    if not starts:
        return read_mail(name, data, options)
    ends = [border.start() for border in _BORDER.finditer(data)][1:]
    sections: list[Section] = []
    warnings: list[ReadWarning] = []
    files, pictures = AttachedFiles(options), PicturesWithin(options)
    for start, end in list(zip(starts, [*ends, len(data)], strict=True))[:MAX_MESSAGES]:
        letter = Letter(options, files, pictures)
        message = _parsed(re.sub(rb"(?m)^>(>*From )", rb"\1", data[start:end]))
        subject = header(message, "subject", language=options.language, limit=200) or "Message"
        sections.append(headed(subject, joined([letter.heads(message), *letter.sections(message)])))
        warnings += letter.said()
    if len(starts) > MAX_MESSAGES:
        warnings.append(ReadWarning("truncated", f"Of {len(starts)} messages the first {MAX_MESSAGES} were read."))
    whole = joined(sections)
    return Extracted(
        whole.text,
        title=name_as_title(name),
        headings=whole.headings,
        warnings=merged([*warnings, *files.said(), *pictures.said()]),
        attachments=files.found,
    )


def _parsed(data: bytes) -> Message:
    return email.message_from_bytes(data.lstrip(b"\r\n\t \xef\xbb\xbf"), policy=email.policy.compat32)


def _metadata(message: Message, language: str) -> dict[str, Json]:
    metadata: dict[str, Json] = {}
    for key in _HEADERS:
        value = header(message, key, language=language)
        if value:
            metadata[key] = value
    if (sent := sent_at(message)) is not None:
        metadata["date"] = sent
    return metadata
