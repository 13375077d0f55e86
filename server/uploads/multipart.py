"""Receiving ``multipart/form-data``: the file is streamed to disk, fields are bounded, nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import unquote_to_bytes

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from config.errors import slug_of
from config.telemetry import spans
from config.telemetry.metrics import UPLOAD_SIZE
from server.errors import InvalidUpload, MalformedUpload, NoRoomForUploads, UploadTooLarge
from server.uploads.received_file import ReceivedFile, file_name

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FILE = "file"
MAX_PARTS = 20
MAX_FIELD_LENGTH = 65_536
MAX_HEADER_LENGTH = 16_384
MAX_HEADERS = 8
WRITTEN_AT_ONCE = 1 << 20
_EXTENDED_NAME = re.compile(rb";\s*filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)  # RFC 5987
_ESCAPED = {"%22": '"', "%0D": "\r", "%0A": "\n"}  # how browsers write these three (https://html.spec.whatwg.org)


@dataclass(frozen=True, slots=True)
class Form:
    """The content of a body; the file exists until the block of `received` ends."""

    fields: Mapping[str, str]
    file: ReceivedFile


class Uploads:
    """Receives bodies into a folder.

    Files have no name there (``O_TMPFILE``, or unlinked at once), so that not even ``kill -9`` leaves any behind.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    @asynccontextmanager
    async def received(self, body: AsyncIterator[bytes], *, content_type: str) -> AsyncIterator[Form]:
        """Read a body to its end and yield its content.

        Raises:
            UploadTooLarge: as soon as the file exceeds the maximum size.
            MalformedUpload: it is not ``multipart/form-data`` (RFC 7578), or has too many or too large parts.
            InvalidUpload: there is no file, or a field is not text, or given twice.
            NoRoomForUploads: the disk is full.

        """
        boundary = _boundary(content_type)
        with closing(await asyncio.to_thread(self._open)) as file:
            parts = _Parts(file, max_bytes=self._max_bytes)
            parser = MultipartParser(
                boundary, parts.callbacks, max_header_count=MAX_HEADERS, max_header_size=MAX_HEADER_LENGTH
            )
            with _counted(parts):
                async for piece in body:
                    _parse(parser, piece)
                    if parts.waiting >= WRITTEN_AT_ONCE:
                        await _written(parts)
                await _written(parts)
                yield parts.form()

    def _open(self) -> BinaryIO:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryFile(dir=self._folder, buffering=0)
        except OSError as exc:
            raise NoRoomForUploads from exc


@contextmanager
def _counted(parts: _Parts) -> Iterator[None]:
    """Count an upload by its outcome, processing included."""
    outcome = "accepted"
    try:
        yield
    except BaseException as exc:
        outcome = spans.CANCELLED if isinstance(exc, asyncio.CancelledError) else slug_of(exc)
        raise
    finally:
        UPLOAD_SIZE.record(parts.size, {"footnote.outcome": outcome})


def _boundary(content_type: str) -> bytes:
    media_type, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if media_type != b"multipart/form-data" or not 1 <= len(boundary) <= 70:  # noqa: PLR2004 (RFC 2046)
        msg = "send multipart/form-data with a boundary of 1 to 70 characters"
        raise MalformedUpload(msg)
    return boundary


def _parse(parser: MultipartParser, piece: bytes) -> None:
    try:
        parser.write(piece)
    except FormParserError as exc:
        msg = "the body is no multipart/form-data that can be read"
        raise MalformedUpload(msg) from exc


async def _written(parts: _Parts) -> None:
    try:
        await asyncio.to_thread(parts.write)
    except OSError as exc:
        raise NoRoomForUploads from exc


class _Parts:
    """The parser's callbacks, which collect the parts of a body."""

    def __init__(self, file: BinaryIO, *, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._fields: dict[str, bytearray] = {}
        self._count = self.size = self.waiting = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._into: bytearray | None = None  # the field that is being received, None: the file is
        self._file_name: str | None = None
        self._ended = False

    @property
    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_data,
            "on_part_data": self._add,
            "on_end": self._end,
        }

    def write(self) -> None:
        """Write what is buffered; call it on a thread."""
        pieces, self._waiting, self.waiting = b"".join(self._waiting), [], 0
        self._digest.update(pieces)
        left = memoryview(pieces)
        while left:
            left = left[self._file.write(left) :]

    def form(self) -> Form:
        """Return what was received, once all of it is written."""
        if not self._ended:
            msg = "the body ends before its last boundary"
            raise MalformedUpload(msg)
        if self._file_name is None:
            raise InvalidUpload(FILE, "is required: a part of this name, with a file name")
        self._file.seek(0)
        file = ReceivedFile(self._file, file_name(self._file_name), self._digest.hexdigest(), self.size)
        return Form({name: _text(name, value) for name, value in self._fields.items()}, file)

    def _begin(self) -> None:
        self._count += 1
        if self._count > MAX_PARTS:
            msg = f"the body has more than {MAX_PARTS} parts"
            raise MalformedUpload(msg)
        self._disposition = b""

    def _end_header(self) -> None:
        name, value = self._header
        if name.lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _begin_data(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = _decoded(options.get(b"name", b""))
        extended = _EXTENDED_NAME.search(self._disposition)
        if b"filename" not in options and extended is None:
            self._begin_field(name)
            return
        if name != FILE or self._file_name is not None:
            raise InvalidUpload(name[:100] or FILE, "one file is sent at a time, in the part `file`")
        given = unquote_to_bytes(extended[1]) if extended else options[b"filename"]
        self._file_name, self._into = _decoded(given), None

    def _begin_field(self, name: str) -> None:
        if not name or name == FILE:
            raise InvalidUpload(name or "body", "a file needs a file name, and a field a name")
        if name in self._fields:
            raise InvalidUpload(name[:100], "was given twice")
        self._into = self._fields[name] = bytearray()

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._into is not None:
            self._into += data[start:end]
            if len(self._into) > MAX_FIELD_LENGTH:
                msg = f"a field has at most {MAX_FIELD_LENGTH} bytes"
                raise MalformedUpload(msg)
            return
        self.size += end - start
        self.waiting += end - start
        if self.size > self._max_bytes:
            raise UploadTooLarge(self._max_bytes)
        self._waiting.append(data[start:end])

    def _end(self) -> None:
        self._ended = True


def _text(name: str, value: bytearray) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidUpload(name[:100], "must be UTF-8") from None


def _decoded(name: bytes) -> str:
    try:
        decoded = name.decode()
    except UnicodeDecodeError:
        decoded = name.decode("latin-1")
    for escaped, char in _ESCAPED.items():
        decoded = decoded.replace(escaped, char)
    return decoded
