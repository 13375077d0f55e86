"""A document on its way into a generation: where its bytes are, and what it will be there."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from ingestion.types import Parsed
from storage.documents.writes import DocumentState, NewDocument

Change: TypeAlias = Literal["added", "changed", "moved"]


def change_of(replaces: DocumentState | None, *, source: str) -> Change:
    """Say what comes of a document whose new version, with this source, takes the place of what is stored of it."""
    if replaces is None:
        return "added"
    return "changed" if replaces.source == source else "moved"


@dataclass(frozen=True, slots=True)
class Identified:
    """A document, and those that are stored in its place: under its id, and under its source."""

    document: NewDocument
    replaces: DocumentState | None = None
    displaces: DocumentState | None = None

    @property
    def change(self) -> Change:
        """What comes of the document."""
        return change_of(self.replaces, source=self.document.source)


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
