"""A stratified sample of documents, by kind and size."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, TypeAlias

from ingestion.names import safe_name
from ingestion.readers.kinds import KIND_OF_SUFFIX

if TYPE_CHECKING:
    from storage.documents.originals import Originals

MAX_DOCUMENTS = 24
_KEPT = MAX_DOCUMENTS  # of one kind and size
Opens: TypeAlias = Callable[[], AbstractAsyncContextManager[Path]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A document that may be sampled.

    Attributes:
        embedded: False if its vectors are stored already.
        is_change: a changed document, some of whose vectors may be reused.
        opened: opens a file with its bytes.

    """

    name: str
    size: int
    opened: Opens
    embedded: bool = True
    is_change: bool = False

    @property
    def kind(self) -> str:
        """The kind of its reader."""
        return KIND_OF_SUFFIX.get(PurePath(self.name).suffix.lower(), "plain")


@dataclass(slots=True)
class Stratum:
    """Documents of one kind and similar size; bytes are of all of them, `kept` is a random sample."""

    kind: str
    documents: int = 0
    bytes: int = 0
    embedded_bytes: int = 0
    changed_bytes: int = 0
    kept: list[Candidate] = field(default_factory=list)


class Sample:
    """Reservoir sampling over all documents, in bounded memory; the same documents give the same sample."""

    def __init__(self) -> None:
        self._strata: dict[tuple[str, int], Stratum] = {}
        self._random = random.Random(0)  # noqa: S311 (no secret)

    def offer(self, candidate: Candidate) -> None:
        """Count a document, and keep it if it is drawn."""
        key = (candidate.kind, candidate.size.bit_length() // 2)
        stratum = self._strata.setdefault(key, Stratum(candidate.kind))
        stratum.documents += 1
        stratum.bytes += candidate.size
        stratum.embedded_bytes += candidate.size * candidate.embedded
        stratum.changed_bytes += candidate.size * (candidate.embedded and candidate.is_change)
        if len(stratum.kept) < _KEPT:
            stratum.kept.append(candidate)
        elif (place := self._random.randrange(stratum.documents)) < _KEPT:
            stratum.kept[place] = candidate

    @property
    def strata(self) -> list[Stratum]:
        """The strata, largest first."""
        return sorted(self._strata.values(), key=lambda stratum: -stratum.bytes)

    def chosen(self) -> Iterator[tuple[Stratum, Candidate]]:
        """Yield the sampled documents: one of each stratum, then a second of each, and so on."""
        rounds = (
            (stratum, stratum.kept[turn])
            for turn in range(_KEPT)
            for stratum in self.strata
            if turn < len(stratum.kept)
        )
        for _, each in zip(range(MAX_DOCUMENTS), rounds, strict=False):
            yield each


def on_disk(path: Path) -> Opens:
    """Return an opener of a file."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Path]:
        yield path

    return opened


def in_database(originals: Originals, *, content_hash: str, name: str) -> Opens:
    """Return an opener of a temporary copy of the bytes that the database keeps."""
    import tempfile

    @asynccontextmanager
    async def opened() -> AsyncIterator[Path]:
        with tempfile.TemporaryDirectory(prefix="footnote-") as folder:
            path = Path(folder) / safe_name(name)
            await originals.write_to(content_hash, path)
            yield path

    return opened
