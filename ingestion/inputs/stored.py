"""Documents to ingest from the bytes that the database keeps."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.incoming import Identified
from ingestion.inputs.given import own_metadata, readers_of
from ingestion.names import safe_name
from ingestion.types import Json, Parsed
from storage.documents.writes import Documents, NewDocument
from storage.errors import SourceTaken

if TYPE_CHECKING:
    from storage.documents.originals import Originals


@dataclass(frozen=True, slots=True)
class KeptDocument:
    """A document whose bytes the database keeps, and its other fields.

    Attributes:
        name: file name; its suffix selects the reader where the bytes do not.
        metadata: as given by the user, ``readers`` among it; takes precedence over the document's own.
        title: overrides the document's own; None to keep that.
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
    def display_name(self) -> str:
        """Its source."""
        return self.document.source

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Path]:
        """Write the bytes to a temporary file with the original's suffix."""
        with tempfile.TemporaryDirectory(prefix="footnote-") as folder:
            path = Path(folder) / safe_name(self.document.name)
            await self.originals.write_to(self.document.content_hash, path)
            yield path

    async def identify(self, parsed: Parsed) -> Identified:
        """Return it with its own id; a copy displaces another document with the same source.

        Raises:
            SourceTaken: it is no copy, and another document has its source.

        """
        known = self.document
        replaces = (await self.documents.by_ids([known.id])).get(known.id)
        holder = (await self.documents.states([known.source])).get(known.source)
        if holder is not None and holder.id == known.id:
            holder = None
        if holder is not None and not self.is_carried:
            raise SourceTaken(known.source, holder=holder.id)
        given = {**parsed.metadata, **known.metadata}
        new = NewDocument(
            id=known.id,
            source=known.source,
            location=known.location,
            title=known.title or parsed.title,
            metadata=own_metadata(given) | {"file_name": known.name},
            content_hash=known.content_hash,
            pipeline_fingerprint=known.pipeline_fingerprint,
            size=parsed.size,
            revision=known.revision,
            original=known.content_hash,
            pages=parsed.labelled_pages,
            repeated=parsed.repeated,
            warnings=[warning.as_json() for warning in parsed.warnings],
            readers=None if self.is_carried else readers_of(given),
        )
        return Identified(new, replaces, displaces=holder)

    async def is_stored(self) -> bool:
        """Tell whether exactly this version is stored."""
        known = self.document
        stored = (await self.documents.by_ids([known.id])).get(known.id)
        wanted = (known.source, known.content_hash, known.pipeline_fingerprint)
        return stored is not None and (stored.source, stored.content_hash, stored.pipeline_fingerprint) == wanted

    async def keep(self, content_hash: str) -> None:
        """Do nothing: the bytes are stored already."""

    async def refresh(self) -> None:
        """Do nothing: `identify` queries the database each time."""
        await asyncio.sleep(0)
