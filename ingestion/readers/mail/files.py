"""The files attached to a message, or to all messages of a mailbox, that become documents of their own."""

from __future__ import annotations

import mimetypes
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.encodings.decoding import decode
from ingestion.readers.kinds import TEXTS, kind_of
from ingestion.readers.sections import counted
from ingestion.types import Attachment, Json, ReadOptions, ReadWarning

MAX_FILES = 1000  # of one file of mails
MAX_REFUSED = 100  # that are named with the reason
MAX_NAMED = 10
_TYPES = mimetypes.MimeTypes(filenames=())  # Python's own table, which is the same on all machines
_UTF8 = frozenset(("", "utf-8", "utf8"))


class AttachedFiles:
    """Collects attachments; `said` tells which were left out."""

    def __init__(self, options: ReadOptions) -> None:
        self.wanted = options.attachments == "documents"
        self._language = options.language
        self._found: list[Attachment] = []
        self._refused: list[ReadWarning] = []
        self._beyond: list[str] = []

    @property
    def found(self) -> tuple[Attachment, ...]:
        """What was collected."""
        return tuple(self._found)

    def take(self, name: str, data: bytes, *, media_type: str, message: dict[str, Json], charset: str = "") -> str:
        """Keep a file, unless no reader takes its kind; return its name, made up if it has none."""
        name = name or self._made_up(media_type)
        if len(self._found) >= MAX_FILES:
            self._beyond.append(name)
            return name
        try:
            kind = kind_of(PurePath(name), data=data)
        except Unreadable as exc:
            self._refuse(name, exc)
            return name
        self._found.append(
            Attachment(name, media_type, data, message, self._as_utf8(data, charset if kind in TEXTS else ""))
        )
        return name

    def said(self) -> list[ReadWarning]:
        """Return what was left out."""
        said = list(self._refused)
        if self._beyond:
            names = ", ".join(self._beyond[:MAX_NAMED]) + (" and more" if len(self._beyond) > MAX_NAMED else "")
            what = counted(len(self._beyond), "attachment was", "attachments were")
            said.append(
                ReadWarning(
                    "attachment-not-read", f"{what} not read, beyond the number that one file may have: {names}."
                )
            )
        return said

    def _refuse(self, name: str, reason: Unreadable) -> None:
        if len(self._refused) < MAX_REFUSED:
            self._refused.append(ReadWarning("attachment-not-read", f"{name}: {reason}."))
        else:
            self._beyond.append(name)

    def _made_up(self, media_type: str) -> str:
        suffix = _TYPES.guess_extension(media_type) if media_type != "application/octet-stream" else None
        return f"attachment-{len(self._found) + 1}{suffix or ''}"

    def _as_utf8(self, data: bytes, charset: str) -> bytes | None:
        if charset.lower() in _UTF8:
            return None
        try:
            return decode(data, declared=charset, language=self._language).text.encode("utf-8-sig")
        except Unreadable:
            return None
