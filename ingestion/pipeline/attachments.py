"""What is attached to a mail: read like files, each in bounded time, and written with the mail as documents."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Protocol

from ingestion.identity import attachment_id, attachment_source, without_reserved_keys
from ingestion.names import safe_name, source_name
from ingestion.readers.sections import counted
from ingestion.types import Attachment, Json, Parsed, ReadWarning, Skipped
from storage.documents.sources import normalized
from storage.documents.writes import NewDocument
from storage.instants import with_utc

MAX_READ = 1000  # of one mail, those of mails attached to it included
MAX_DEPTH = 5  # of mails attached to mails
MAX_SECONDS = 600  # after which no other is begun
MAX_NAMED = 10
_OF_THE_MAIL = frozenset(("attachments", "signed"))  # keys that say nothing of what is attached


class Reads(Protocol):
    """A reader of files."""

    async def parse(self, path: Path, /) -> Parsed | Skipped:
        """Read and split a file."""
        ...


@dataclass(frozen=True, slots=True)
class ReadAttachment:
    """An attachment that was read.

    Attributes:
        label: its name within the mail, unique in it: ``report.pdf``, ``report (2).pdf``, ``inner.msg#report.pdf``.
        parsed: with the path of a temporary file that is gone.

    """

    label: str
    attachment: Attachment
    parsed: Parsed


@dataclass(slots=True)
class AttachmentsRead:
    """The attachments of a mail that were read, and what is said about the others."""

    read: list[ReadAttachment] = field(default_factory=list)
    warnings: list[ReadWarning] = field(default_factory=list)

    @property
    def of_attachments(self) -> list[ReadWarning]:
        """The warnings of those that were read, with their names."""
        return [
            replace(warning, detail=f"{each.label}: {warning.detail}")
            for each in self.read
            for warning in each.parsed.warnings
        ]


async def read_attachments(parser: Reads, mail: Parsed, *, seconds: float = MAX_SECONDS) -> AttachmentsRead:
    """Read and split what is attached to a mail, and to mails that are attached to it.

    After `seconds` no other is begun; each has the time and memory of a file.
    """
    reading = _Reading(parser, seconds)
    await reading.read(mail.attachments, "", 1)
    return reading.found()


class _Reading:
    def __init__(self, parser: Reads, seconds: float) -> None:
        self._parser = parser
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._found = AttachmentsRead()
        self._labels: Counter[str] = Counter()
        self._late: list[str] = []
        self._begun = 0

    def found(self) -> AttachmentsRead:
        if self._late:
            names = ", ".join(self._late[:MAX_NAMED]) + (" and more" if len(self._late) > MAX_NAMED else "")
            bounds = f"the first {MAX_READ}, {self._seconds:g} seconds or {MAX_DEPTH} levels"
            what = counted(len(self._late), "attachment was", "attachments were")
            detail = f"{what} not read, beyond {bounds}: {names}."
            self._found.warnings.append(ReadWarning("attachment-not-read", detail))
        return self._found

    async def read(self, attachments: Sequence[Attachment], within: str, depth: int) -> None:
        for each in attachments:
            label = self._label(within + (normalized(source_name(each.name)) or "file"))
            if depth > MAX_DEPTH or self._begun >= MAX_READ or time.monotonic() > self._end:
                self._late.append(label)
                continue
            self._begun += 1
            async with _file(each) as path:
                parsed = await self._parser.parse(path)
            if isinstance(parsed, Skipped):
                self._found.warnings.append(ReadWarning("attachment-not-read", f"{label}: {parsed.reason}."))
                continue
            digest = await asyncio.to_thread(hashlib.sha256, each.data)
            whole = replace(parsed, attachments=(), content_hash=digest.hexdigest(), size=len(each.data))
            self._found.read.append(ReadAttachment(label, each, whole))
            await self.read(parsed.attachments, f"{label}#", depth + 1)

    def _label(self, label: str) -> str:
        """Return a name that no other attachment has, ``report (2).pdf`` say."""
        self._labels[label] += 1
        if self._labels[label] == 1:
            return label
        folder, mark, name = label.rpartition("#")
        path = PurePath(name)
        return self._label(f"{folder}{mark}{path.stem} ({self._labels[label]}){path.suffix}")


@asynccontextmanager
async def _file(attachment: Attachment) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="footnote-") as folder:
        path = Path(folder) / safe_name(attachment.name)
        await asyncio.to_thread(path.write_bytes, attachment.data if attachment.utf8 is None else attachment.utf8)
        yield path


def attached_document(mail: NewDocument, letter: Parsed, each: ReadAttachment, *, attempt: int = 0) -> NewDocument:
    """Return the row of an attachment: it follows its mail in version and settings, and has the metadata given to it.

    Args:
        mail: as it is written with it.
        letter: the mail as it was read.
        each: the attachment.
        attempt: counts up while the id is another document's.

    """
    attachment, parsed = each.attachment, each.parsed
    metadata: dict[str, object] = {
        **without_reserved_keys(parsed.metadata),
        "media_type": attachment.media_type,
        **attachment.message,
        **_given(mail.metadata, letter.metadata),
        "attached_to": mail.source,
        "file_name": source_name(attachment.name),
    }
    return NewDocument(
        id=attachment_id(mail.id, each.label, attempt=attempt),
        source=attachment_source(mail.source, each.label),
        location=None,
        title=parsed.title,
        metadata=metadata,
        content_hash=parsed.content_hash,
        pipeline_fingerprint=mail.pipeline_fingerprint,
        size=parsed.size,
        revision=mail.revision,
        original=parsed.content_hash,
        pages=parsed.labelled_pages,
        repeated=parsed.repeated,
        warnings=[warning.as_json() for warning in parsed.warnings],
        parent=mail.id,
    )


def _given(metadata: Mapping[str, object], own: Mapping[str, Json]) -> dict[str, object]:
    """Return the metadata of a mail that whoever brought it gave, not its reader."""
    stored, read = with_utc(metadata), with_utc(own)
    return {
        key: value
        for key, value in without_reserved_keys(stored).items()
        if key not in _OF_THE_MAIL and (key not in read or read[key] != value)
    }
