"""A document on its way into a generation: where its bytes are, and what it will be there."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ingestion.identity import free_metadata
from ingestion.types import Json, Parsed
from storage.documents.writes import Documents, DocumentState, NewDocument

if TYPE_CHECKING:
    from ingestion.inputs.matching import Matching
    from storage.documents.originals import Originals

LONGEST_NAME = 200  # bytes of a file's name; the system's bound is 255


@dataclass(frozen=True, slots=True)
class Identified:
    """A document, and those that are stored in its place: under its id, and under its source."""

    document: NewDocument
    replaces: DocumentState | None = None
    displaces: DocumentState | None = None


class Incoming(Protocol):
    """A document that is to be read, split, embedded and written."""

    @property
    def shown(self) -> Path:
        """Its name to people."""
        ...

    @property
    def is_carried(self) -> bool:
        """Whether it comes from another generation as it is there."""
        ...

    def opened(self) -> AbstractAsyncContextManager[Path]:
        """Lend a file with its bytes."""
        ...

    async def identify(self, parsed: Parsed) -> Identified:
        """Return the document that it makes, and what it takes the place of."""
        ...

    async def keep(self, content_hash: str) -> None:
        """See to it that its bytes are kept in the database."""
        ...

    async def again(self) -> None:
        """Look anew at what is stored: another writer was there."""
        ...


@dataclass(slots=True)
class FileOnDisk:
    """A local file, found by a listing."""

    path: Path
    revision: int
    matching: Matching
    originals: Originals

    is_carried = False

    @property
    def shown(self) -> Path:
        """Its path."""
        return self.path

    def opened(self) -> AbstractAsyncContextManager[Path]:
        """Lend the file itself."""
        return nullcontext(self.path)

    async def identify(self, parsed: Parsed) -> Identified:
        """Compare it with what is stored."""
        return await self.matching.identify(self.path, parsed, revision=self.revision)

    async def keep(self, content_hash: str) -> None:
        """Copy it into the database, unless it is there."""
        await self.originals.put(self.path, content_hash=content_hash)

    async def again(self) -> None:
        """Read it as it is now."""
        self.revision = await self.matching.next_revision()


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A document whose bytes the database keeps, and what is known of it besides them.

    Attributes:
        name: of the file that it was; its suffix says what kind it is where the bytes do not.
        metadata: typed by people, which goes before what the document says of itself.
        title: in place of the document's own; None where that counts.
    """

    id: str
    source: str
    location: str | None
    name: str
    title: str | None
    metadata: Mapping[str, Json]
    content_hash: str
    pipeline_fingerprint: str
    revision: int


@dataclass(slots=True)
class FromDatabase:
    """A document whose bytes are in the database: uploaded, fetched, or carried over from another generation."""

    document: KeptDocument
    documents: Documents
    originals: Originals
    is_carried: bool = False

    @property
    def shown(self) -> Path:
        """Its source."""
        return Path(self.document.source)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Path]:
        """Lend a temporary file, named so that it is read as what it was."""
        with tempfile.TemporaryDirectory(prefix="footnote-") as folder:
            path = Path(folder) / safe_name(self.document.name)
            await self.originals.write_to(self.document.content_hash, path)
            yield path

    async def identify(self, parsed: Parsed) -> Identified:
        """Return it with the id that it has; a document that has its source under another id gives way."""
        known = self.document
        replaces = (await self.documents.by_ids([known.id])).get(known.id)
        holder = (await self.documents.states([known.source])).get(known.source)
        if holder is not None and holder.id == known.id:
            holder = None
        new = NewDocument(
            id=known.id,
            source=known.source,
            location=known.location,
            title=known.title or parsed.title,
            metadata={**free_metadata(parsed.metadata), **known.metadata, "file_name": known.name},
            content_hash=known.content_hash,
            pipeline_fingerprint=known.pipeline_fingerprint,
            size=parsed.size,
            revision=known.revision,
            original=known.content_hash,
        )
        return Identified(new, replaces, displaces=holder)

    async def is_stored(self) -> bool:
        """Tell whether the document is there just so."""
        known = self.document
        stored = (await self.documents.by_ids([known.id])).get(known.id)
        wanted = (known.source, known.content_hash, known.pipeline_fingerprint)
        return stored is not None and (stored.source, stored.content_hash, stored.pipeline_fingerprint) == wanted

    async def keep(self, content_hash: str) -> None:
        """Do nothing: they are where they shall be."""

    async def again(self) -> None:
        """Do nothing: `identify` looks each time."""
        await asyncio.sleep(0)


def safe_name(name: str) -> str:
    """Return a name for a file in a folder of ours: no path, no control characters, its suffix kept."""
    cleaned = (
        "".join(char if char.isprintable() and char not in "/\\\0" else "_" for char in name).strip(". ") or "file"
    )
    stem, dot, suffix = cleaned.rpartition(".")
    if dot and len(suffix.encode()) <= 20:  # noqa: PLR2004 (longer than any suffix)
        room = LONGEST_NAME - len(suffix.encode()) - 1
        return f"{stem.encode()[:room].decode('utf-8', 'ignore') or 'file'}.{suffix}"
    return cleaned.encode()[:LONGEST_NAME].decode("utf-8", "ignore")
