"""Mails with attachments, as programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime

SENT = datetime(2024, 10, 1, 19, 0, tzinfo=UTC)
TYPES = {"pdf": "application/pdf", "csv": "text/csv", "md": "text/markdown", "zip": "application/zip"}


def mail(
    text: str = "See the files.",
    *files: tuple[str, bytes],
    subject: str = "The offer",
    inner: Sequence[EmailMessage] = (),
) -> EmailMessage:
    """Return a mail with attachments, and with forwarded mails."""
    message = EmailMessage()
    message["From"], message["To"] = "Ulla <ulla@example.org>", "Bo <bo@example.org>"
    message["Subject"], message["Date"] = subject, format_datetime(SENT)
    message.set_content(text)
    for name, data in files:
        main, _, minor = TYPES.get(name.rpartition(".")[2], "application/octet-stream").partition("/")
        message.add_attachment(data, maintype=main, subtype=minor, filename=name)
    for each in inner:
        message.add_attachment(each)
    return message
