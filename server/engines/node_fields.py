"""Fields of a node's metadata, which any program may have written: read if they are what they should be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from llama_index.core.schema import BaseNode

from storage.nodes import integer

DEEPEST = 16  # levels of metadata that are shown
MOST_VALUES = 10_000  # of one field
LONGEST_INTEGER = 1024  # bits
CUT = "…"


def chunk_index_of(node: BaseNode) -> int:
    """Return the index of a node's chunk in its document; 0 if it does not say."""
    return integer(node.metadata.get("chunk_index")) or 0


def words_of(value: object) -> str | None:
    """Return a text or a number as text; None for anything else, and for what is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return well_formed(str(value)) or None


def well_formed(text: str) -> str:
    """Return a text that can be sent and kept: half a surrogate pair becomes a question mark, NUL becomes U+FFFD."""
    sent = text if text.isascii() else text.encode(errors="replace").decode()
    return sent.replace("\0", "\ufffd")


def plain(value: Any) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Return a value as JSON can hold it; what it cannot, as text, and what is too deep or too much, as `CUT`."""
    return _plain(value, DEEPEST, itertools.count())


def _plain(value: Any, depth: int, seen: Iterator[int]) -> Any:  # noqa: ANN401, PLR0911 (whatever JSON holds)
    if next(seen) >= MOST_VALUES:  # one that holds itself has no end
        return CUT
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= LONGEST_INTEGER else CUT  # Python refuses to write longer ones
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list | tuple) and not depth:
        return CUT
    if isinstance(value, dict):
        return {well_formed(str(key)): _plain(inner, depth - 1, seen) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner, depth - 1, seen) for inner in value]
    return well_formed(str(value))
