"""What is told of a document beside its bytes: by its front matter, or by whoever ingests it, which comes first."""

from __future__ import annotations

from collections.abc import Mapping

from ingestion.errors import Unreadable
from ingestion.identity import OWN_KEYS
from ingestion.types import Json
from storage.documents.readers import checked_readers
from storage.errors import InvalidReaders

READERS = "readers"
"""The key of a document's readers; it is none of its metadata."""


def own_metadata(given: Mapping[str, Json]) -> dict[str, Json]:
    """Return the metadata without the keys that Footnote uses itself."""
    return {key: value for key, value in given.items() if key not in OWN_KEYS}


def readers_of(given: Mapping[str, Json]) -> tuple[str, ...] | None:
    """Return the readers that a document brings; None: it brings none.

    Raises:
        Unreadable: they cannot be used. Nobody shall read what was meant for some.

    """
    readers = given.get(READERS)
    if readers is None:
        return None
    listed = readers if isinstance(readers, list) else [readers]
    try:
        return checked_readers([each if isinstance(each, str) else repr(each) for each in listed])
    except InvalidReaders as exc:
        msg = f"its readers cannot be used: {exc}"
        raise Unreadable(msg) from exc
