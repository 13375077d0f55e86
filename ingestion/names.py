"""Names of documents, and reasons for skipping them, as text for people."""

from __future__ import annotations

import os
import re
from pathlib import Path

MAX_NAME_LENGTH = 200  # bytes; file systems allow 255
_NUMBER = re.compile(r"([0-9]{1,18})")


def source_name(name: Path | str) -> str:
    r"""Return a path or a URL as text to show and store; control characters and non-UTF-8 bytes become ``\xNN``."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def natural_order(name: Path | str) -> list[tuple[int, str]]:
    """Return a key that sorts names as people do: ``note2`` before ``note10``, whatever the case."""
    pieces = _NUMBER.split(source_name(name).casefold())  # every second one is a number
    return [(int(piece), "") if number % 2 else (-1, piece) for number, piece in enumerate(pieces)]


def size_as_text(size: int) -> str:
    """Return a number of bytes as people say it, such as ``50 MB``."""
    for unit, count in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if size >= count:
            return f"{size / count:.4g} {unit}"
    return f"{size} bytes"


def reason_of(error: OSError) -> str:
    """Return the reason why a file cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "it is no longer there"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"it cannot be read: {error.strerror or 'the system gives no reason'}"


def safe_name(name: str) -> str:
    """Return a safe file name: no path separators, no control characters, the same suffix."""
    cleaned = (
        "".join(char if char.isprintable() and char not in "/\\\0" else "_" for char in name).strip(". ") or "file"
    )
    stem, dot, suffix = cleaned.rpartition(".")
    if dot and len(suffix.encode()) <= 20:  # noqa: PLR2004 (longer than any suffix)
        room = MAX_NAME_LENGTH - len(suffix.encode()) - 1
        return f"{stem.encode()[:room].decode('utf-8', 'ignore') or 'file'}.{suffix}"
    return cleaned.encode()[:MAX_NAME_LENGTH].decode("utf-8", "ignore")
