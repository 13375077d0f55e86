"""Names of documents, and reasons for skipping them, as text for people."""

from __future__ import annotations

import os
from pathlib import Path

MAX_NAME_LENGTH = 200  # bytes; file systems allow 255


def source_name(name: Path | str) -> str:
    r"""Return a path or a URL as text to show and store; control characters and non-UTF-8 bytes become ``\xNN``."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


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
