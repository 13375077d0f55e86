"""Zip containers whose parts are read one at a time, in bounded memory."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable

from ingestion.errors import Unreadable

MAX_UNPACKED = 1 << 30
MAX_PART = 256 << 20
MAX_RATIO = 100  # real Office files reach 30; of what is larger than this many bytes when unpacked
_RATIO_COUNTS_FROM = 20 << 20


def unpacks_too_far(entries: Iterable[zipfile.ZipInfo], size: int) -> bool:
    """Tell whether the entries of an archive of so many bytes may be a zip bomb, by what they say of themselves."""
    unpacked = sum(entry.file_size for entry in entries)
    return unpacked > MAX_UNPACKED or (unpacked > _RATIO_COUNTS_FROM and unpacked > MAX_RATIO * size)


class Container:
    """The parts of a zip file by name.

    Raises:
        Unreadable: it is damaged, encrypted, or unpacks to many times its size.

    """

    def __init__(self, data: bytes, *, what: str) -> None:
        self._what = what
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as exc:
            msg = f"a damaged {what}"
            raise Unreadable(msg) from exc
        if unpacks_too_far(self._archive.infolist(), len(data)):
            msg = f"an {what} that unpacks to many times its size, a zip bomb perhaps"
            raise Unreadable(msg)
        self.names = frozenset(self._archive.namelist())

    def read(self, name: str) -> bytes | None:
        """Return a part's bytes; None if there is no such part, or it cannot be unpacked."""
        try:
            with self._archive.open(name) as part:
                data = part.read(MAX_PART + 1)
        except (
            KeyError,
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            EOFError,
            ValueError,
            OSError,
        ):
            return None
        return data if len(data) <= MAX_PART else None
