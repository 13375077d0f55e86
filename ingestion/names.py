"""What a document is called, and why one was not read."""

from __future__ import annotations

import os
from pathlib import Path


def source_name(path: Path) -> str:
    r"""Return a path as text to show and store; control characters and bytes that are no UTF-8 become ``\xNN``."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def reason_of(error: OSError) -> str:
    """Say why the system did not let us at a file."""
    if isinstance(error, FileNotFoundError):
        return "it is no longer there"
    if isinstance(error, PermissionError):
        return "no permission to read it"
    return f"it cannot be read: {error.strerror or 'the system gives no reason'}"
