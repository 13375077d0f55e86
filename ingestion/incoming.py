"""A document to ingest: its bytes, and the row that it becomes."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from ingestion.types import Parsed
from storage.documents.writes import DocumentState, NewDocument

Change: TypeAlias = Literal["added", "changed", "moved"]


def change_of(replaces: DocumentState | None, *, source: str) -> Change:
    """Return what happens to a document when a version with this source replaces the stored one."""
    if replaces is None:
        return "added"
    return "changed" if replaces.source == source else "moved"


@dataclass(frozen=True, slots=True)
class Identified:
    """A document to write, the stored one with its id, and, for a copy, another stored one with its source.

    Attributes:
        parsed: what was read, corrected by what is known of it; None: as it was read.

    """

    document: NewDocument
    replaces: DocumentState | None = None
    displaces: DocumentState | None = None
    parsed: Parsed | None = None

    @property
    def change(self) -> Change:
        """What happens to the document."""
        return change_of(self.replaces, source=self.document.source)


class Incoming(Protocol):
    """A document that is to be read, split, embedded and written."""

    @property
    def display_name(self) -> str:
        """Name for reports: a path, a URL, or the source."""
        ...

    @property
    def is_carried(self) -> bool:
        """Whether it is copied from another generation."""
        ...

    def opened(self) -> AbstractAsyncContextManager[Path]:
        """Open a file with its bytes."""
        ...

    async def identify(self, parsed: Parsed) -> Identified:
        """Return the document to write, and the stored ones that it replaces.

        Raises:
            SourceTaken: another document has its source.

        """
        ...

    async def keep(self, content_hash: str) -> None:
        """Store its bytes in the database, unless they are there."""
        ...

    async def refresh(self) -> None:
        """Prepare another attempt after a write conflict."""
        ...
