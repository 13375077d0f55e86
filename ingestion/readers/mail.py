"""E-mail (RFC 5322 and MIME): the message, without its attachments."""

from __future__ import annotations

import email
import email.errors
import email.policy
from datetime import UTC
from email.message import EmailMessage
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.webpage import markdown_of
from ingestion.types import Extracted, Json, ReadOptions


def read_mail(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a message, preferring plain text to HTML; sender, recipients, date and attachment names become metadata."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not isinstance(message, EmailMessage) or not message.keys():
        msg = "not an e-mail, though it is named so"
        raise Unreadable(msg)
    title = one_line(_header(message, "subject")) or name_as_title(name)
    return Extracted(_body(message), title=title, metadata=_metadata(message))


def _body(message: EmailMessage) -> str:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    try:
        content = part.get_content()
    except (LookupError, ValueError, AttributeError):  # an unknown encoding, or a part that is not text
        payload = part.get_payload(decode=True)
        content = payload.decode("utf-8", "replace") if isinstance(payload, bytes) else ""
    if not isinstance(content, str):
        return ""
    return markdown_of(content)[0] if part.get_content_type() == "text/html" else clean(content)


def _metadata(message: EmailMessage) -> dict[str, Json]:
    metadata: dict[str, Json] = {}
    for key in ("from", "to", "cc", "date"):
        value = one_line(_header(message, key), limit=1000)
        if value:
            metadata[key] = value
    sent = getattr(message.get("date"), "datetime", None)
    if sent is not None:
        metadata["date"] = (sent if sent.tzinfo else sent.replace(tzinfo=UTC)).isoformat()  # RFC 5322: -0000 is UTC
    names = (
        [one_line(part.get_filename() or "") for part in message.iter_attachments()] if message.is_multipart() else []
    )
    if any(names):
        metadata["attachments"] = [name for name in names if name]
    return metadata


def _header(message: EmailMessage, key: str) -> str:
    try:
        return str(message.get(key) or "")
    except (
        email.errors.MessageError,
        ValueError,
        IndexError,
        AttributeError,
    ):  # the parser raises these for broken headers
        return ""
