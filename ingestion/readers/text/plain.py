"""Plain text."""

from __future__ import annotations

from pathlib import PurePath

from ingestion.readers.cleaning import clean, name_as_title
from ingestion.readers.data_uris import cut_data
from ingestion.readers.encodings.decoding import decode
from ingestion.types import Extracted, ReadOptions


def read_plain(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read plain text without long data URIs; the title is the file name."""
    decoded = decode(data, language=options.language)
    text, cut = cut_data(clean(decoded.text))
    return Extracted(text, title=name_as_title(name), warnings=(*decoded.warnings, *cut))
