"""A manifest: a dry run's plan as JSON Lines, which a later run can be checked against.

A header line, one line for each document, and a footer with their number. Reading and comparing keep a few hundred
lines in memory, however long the file is.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingestion.errors import CommandRefused
from ingestion.names import source_name
from storage.documents.sources import MAX_SOURCE_BYTES

VERSION = 1
MAX_LINE = 16_384  # bytes; a source has at most 2,000
MAX_NAMED = 5  # differences
WINDOW = 512  # lines compared after the first difference
EXIT_REFUSED = 4

Action = Literal["added", "changed", "moved", "reindexed", "carried", "deleted"]
_Model = TypeVar("_Model", bound=BaseModel)


class ManifestInvalid(CommandRefused):
    """A manifest cannot be read or written; the message says where and why."""


class ManifestDiffers(CommandRefused):
    """A run would differ from its manifest; the message names the first differences."""

    exit_code = EXIT_REFUSED


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class Header(_Line):
    """The run that a manifest was made for.

    Attributes:
        footnote_manifest: version of the format.
        generation: the active one; None if the collection was new.
        settings: hash of the model, chunking and metadata.

    """

    footnote_manifest: int
    collection: Annotated[str, Field(max_length=100)]
    generation: Annotated[str, Field(max_length=20)] | None
    mode: Literal["ingest", "reindex"]
    sync: bool
    settings: Annotated[str, Field(max_length=200)]


class Entry(_Line):
    """The action for a document; the hash is the SHA-256 of its bytes."""

    action: Action
    source: Annotated[str, Field(max_length=MAX_SOURCE_BYTES)]
    content_hash: Annotated[str, Field(max_length=200)]
    bytes: Annotated[int, Field(ge=0)]

    @property
    def shown(self) -> str:
        """The entry as text for messages."""
        return f"{source_name(self.source)} {self.action}"


class Footer(_Line):
    """The last line; a manifest without it is truncated."""

    documents: Annotated[int, Field(ge=0)]


class ManifestWriter:
    """Writes a manifest; see `writing`."""

    def __init__(self, file: IO[str], header: Header) -> None:
        self._file = file
        self._documents = 0
        self._write(header)

    def add(self, entry: Entry) -> None:
        """Write a document's line."""
        self._documents += 1
        self._write(entry)

    def end(self) -> None:
        """Write the last line."""
        self._write(Footer(documents=self._documents))

    def _write(self, line: _Line) -> None:
        self._file.write(line.model_dump_json() + "\n")


@contextmanager
def writing(path: Path, header: Header) -> Iterator[ManifestWriter]:
    """Open a writer; the complete file replaces `path` when the block ends without an error.

    Raises:
        ManifestInvalid: the file cannot be written.

    """
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
            try:
                writer = ManifestWriter(file, header)
                yield writer
                writer.end()
                file.close()
                os.replace(file.name, path)  # noqa: PTH105 (the same)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as exc:
        msg = f"--manifest {path}: it cannot be written ({exc.strerror or type(exc).__name__})"
        raise ManifestInvalid(msg) from exc


def read_header(path: Path) -> Header:
    """Return a manifest's header.

    Raises:
        ManifestInvalid: the file cannot be read, or is not a manifest of this version.

    """
    with _opened(path) as file:
        return _header(_lines(file, path), path)


def read_entries(path: Path) -> Iterator[Entry]:
    """Yield a manifest's entries.

    Raises:
        ManifestInvalid: as `read_header`; or a line is invalid, or the footer is missing.

    """
    with _opened(path) as file:
        lines = _lines(file, path)
        _header(lines, path)
        for documents, (number, line) in enumerate(lines):
            if line.startswith(b'{"documents"'):
                if _parsed(Footer, line, path, number).documents != documents or next(lines, None):
                    break
                return
            yield _parsed(Entry, line, path, number)
    msg = f"--manifest {path}: its end is missing or does not fit; make it anew with --dry-run"
    raise ManifestInvalid(msg)


async def compare(path: Path, header: Header, now: AsyncIterator[Entry]) -> None:
    """Compare the plan of now with a manifest.

    Raises:
        ManifestDiffers: they differ.
        ManifestInvalid: as `read_entries`.

    """
    _compare_headers(read_header(path), header)
    then = read_entries(path)
    while True:
        told = await asyncio.to_thread(lambda: list(itertools.islice(then, WINDOW)))
        found = [entry async for entry in _some(now, most=max(1, len(told)))]
        if told != found:
            more = await asyncio.to_thread(lambda: list(itertools.islice(then, WINDOW)))
            found += [entry async for entry in _some(now, most=WINDOW)]
            raise _differs([*told, *more], found)
        if not told:
            return


def _compare_headers(then: Header, now: Header) -> None:
    for name, shown in (
        ("collection", "the collection"),
        ("mode", "what is to be done (ingest or reindex)"),
        ("generation", "the generation that answers"),
        ("sync", "--sync"),
    ):
        if getattr(then, name) != getattr(now, name):
            msg = f"the manifest does not fit: {shown} was {getattr(then, name)} and is {getattr(now, name)}"
            raise ManifestDiffers(msg)
    if then.settings != now.settings:
        msg = "the manifest does not fit: the embedding model, the chunking or the metadata are not what they were"
        raise ManifestDiffers(msg)


def _differs(then: Sequence[Entry], now: Sequence[Entry]) -> ManifestDiffers:
    planned, found = {entry.source: entry for entry in then}, {entry.source: entry for entry in now}
    named = []
    for entry in then[:WINDOW]:
        if (other := found.get(entry.source)) is None:
            named.append(f"{entry.shown} in the manifest, and not now")
        elif other != entry:
            same = "" if other.action != entry.action else " with other content"
            named.append(f"{entry.shown} in the manifest, now {other.action}{same}")
    named += [f"{entry.shown} now, and not in the manifest" for entry in now[:WINDOW] if entry.source not in planned]
    shown = "; ".join(named[:MAX_NAMED]) or "the order of the documents"
    return ManifestDiffers(f"what would be done is not what the manifest says: {shown}; make it anew with --dry-run")


async def _some(entries: AsyncIterator[Entry], *, most: int) -> AsyncIterator[Entry]:
    for _ in range(most):
        try:
            yield await anext(entries)
        except StopAsyncIteration:
            return


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as exc:
        msg = f"--manifest {path}: it cannot be read ({exc.strerror or type(exc).__name__})"
        raise ManifestInvalid(msg) from exc


def _lines(file: IO[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    read: Callable[[], bytes] = lambda: file.readline(MAX_LINE + 1)  # noqa: E731 (for iter)
    for number, line in enumerate(iter(read, b""), start=1):
        if len(line) > MAX_LINE:
            msg = f"--manifest {path}, line {number}: it is longer than {MAX_LINE} bytes"
            raise ManifestInvalid(msg)
        yield number, line


def _header(lines: Iterator[tuple[int, bytes]], path: Path) -> Header:
    number, line = next(lines, (1, b""))
    try:
        version = json.loads(line)["footnote_manifest"]
    except (ValueError, TypeError, KeyError, RecursionError):
        version = None
    if version != VERSION or isinstance(version, bool):
        made = "it is no manifest" if version is None else f"its version is {str(version)[:20]}, not {VERSION}"
        msg = f"--manifest {path}: {made}; python -m ingestion PATH… --dry-run --manifest FILE makes one"
        raise ManifestInvalid(msg)
    return _parsed(Header, line, path, number)


def _parsed(model: type[_Model], line: bytes, path: Path, number: int) -> _Model:
    try:
        return model.model_validate_json(line)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "it"
        msg = f"--manifest {path}, line {number}: {place}: {first['msg']}"
        raise ManifestInvalid(msg) from None
