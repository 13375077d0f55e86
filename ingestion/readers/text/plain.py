"""Plain text."""

from __future__ import annotations

from pathlib import PurePath

from ingestion.readers.cleaning import clean, name_as_title
from ingestion.readers.encodings.decoding import decode
from ingestion.types import Extracted, ReadOptions


def read_plain(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read plain text; the title is the file name."""
    decoded = decode(data, language=options.language)
    return Extracted(clean(decoded.text), title=name_as_title(name), warnings=decoded.warnings)
