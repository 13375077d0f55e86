"""The files, folders, patterns and URLs that a user named, and listing them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ingestion.identity import absolute
from ingestion.inputs.walk import find_files, is_pattern
from ingestion.types import Json, Skipped

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

    from ingestion.incoming import Incoming
    from ingestion.inputs.local_files import LocalFiles
    from ingestion.inputs.web_pages import UrlDocuments
    from ingestion.pipeline.report import IngestReport
    from ingestion.pipeline.tracing import RunTrace

MAGIC = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run ingests, and into which collection.

    Attributes:
        paths: files, folders, patterns and URLs, as a user or a shell writes them.
        base: folder that sources are named relative to.
        metadata: for every document, ``readers`` among it (`ingestion.inputs.given`).
        exclude: patterns of files to leave out, as in a ``.gitignore``.
        plugged_in: suffixes of files that plug-ins read.

    """

    collection: str
    paths: Sequence[str]
    base: Path | None = None
    metadata: Mapping[str, Json] = field(default_factory=dict)
    exclude: Sequence[str] = ()
    plugged_in: Container[str] = ()

    @property
    def urls(self) -> list[str]:
        """The URLs among the paths."""
        return [path for path in self.paths if is_url(path)]

    @property
    def files(self) -> list[str]:
        """The paths that are no URLs."""
        return [path for path in self.paths if not is_url(path)]

    def are_more_than_files(self) -> bool:
        """Tell whether a folder is among the paths, or what is not there any more; it looks at the file system."""
        return any(not Path(path).is_file() for path in self.files)

    @property
    def patterns(self) -> list[str]:
        """The patterns among the paths."""
        return [path for path in self.files if is_pattern(path)]

    def listing(self) -> Iterator[Path | Skipped]:
        """List the files that exist now."""
        found = find_files(self.files, plugged_in=self.plugged_in)
        return _without(found, self) if self.exclude else found


def is_url(path: str) -> bool:
    """Tell whether a path is a URL."""
    return path.lower().startswith(("http://", "https://"))


def excluding(patterns: Sequence[str]) -> GitIgnoreSpec:
    """Compile patterns in the syntax of ``.gitignore``.

    Raises:
        ValueError: a pattern is invalid.

    """
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns)


def _without(found: Iterable[Path | Skipped], inputs: Inputs) -> Iterator[Path | Skipped]:
    spec = excluding(inputs.exclude)
    folders = [absolute(Path(path)) for path in inputs.files]
    for entry in found:
        path = absolute(entry.path if isinstance(entry, Skipped) else entry)
        inside = next((path.relative_to(folder) for folder in folders if path.is_relative_to(folder)), path)
        if not spec.match_file(inside.as_posix().lstrip("/")):
            yield entry


class Listed:
    """A listing that records, while it is consumed, what `--sync` needs: files found and paths that could not be read.

    Attributes:
        files: number of files found under each named path.
        closed: the first folder or file that could not be looked at.

    """

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self.files = {absolute(Path(path)): 0 for path in inputs.files}
        self.closed: Path | None = None

    def __iter__(self) -> Iterator[Path | Skipped]:
        """List."""
        for entry in self._inputs.listing():
            self._note(entry)
            yield entry

    def _note(self, entry: Path | Skipped) -> None:
        if isinstance(entry, Skipped) and self.closed is None and not entry.expected and _is_closed(entry.path):
            self.closed = entry.path
        path = absolute(entry.path if isinstance(entry, Skipped) else entry)
        for root in self.files:
            if path == root or path.is_relative_to(root):
                self.files[root] += not (isinstance(entry, Skipped) and path == root)


def _is_closed(path: Path) -> bool:
    """Tell whether a path exists and cannot be read: a listing yields a folder only if it cannot be listed."""
    try:
        return path.is_dir() and not path.is_symlink()
    except OSError:
        return True


class Arrivals:
    """All documents to ingest: files first, then web pages."""

    def __init__(self, files: LocalFiles, pages: UrlDocuments | None) -> None:
        self._files = files
        self._pages = pages

    async def changed(
        self, listing: Iterable[Path | Skipped], *, report: IngestReport, trace: RunTrace
    ) -> AsyncIterator[Incoming]:
        """Yield the documents to ingest; count the others in the report."""
        async for file in self._files.changed(listing, report=report, trace=trace):
            yield file
        if self._pages:
            async for page in self._pages.changed(report=report, trace=trace):
                yield page
