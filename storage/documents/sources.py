"""Sources: the names that tell the documents of a collection apart."""

from __future__ import annotations

import unicodedata

MAX_SOURCE_BYTES = 2000


def normalized(source: str) -> str:
    """Return a source as it is stored and looked up: file systems and keyboards differ in how they write an accent."""
    return unicodedata.normalize("NFC", source)
