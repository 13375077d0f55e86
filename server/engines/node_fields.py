"""Fields of a node's metadata, which any program may have written: read if they are what they should be."""

from __future__ import annotations

import math
from typing import Any

from llama_index.core.schema import BaseNode

from storage.nodes import integer

DEEPEST = 16  # levels of metadata that are shown


def chunk_index_of(node: BaseNode) -> int:
    """Return the index of a node's chunk in its document; 0 if it does not say."""
    return integer(node.metadata.get("chunk_index")) or 0


def words_of(value: object) -> str | None:
    """Return a text or a number as text; None for anything else, and for what is empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return well_formed(str(value)) or None


def well_formed(text: str) -> str:
    """Return a text that can be sent: half a surrogate pair becomes a question mark."""
    return text if text.isascii() else text.encode(errors="replace").decode()


def plain(value: Any, *, depth: int = DEEPEST) -> Any:  # noqa: ANN401 (whatever JSON holds)
    """Return a value as JSON can hold it; what it cannot, as text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict) and depth:
        return {well_formed(str(key)): plain(inner, depth=depth - 1) for key, inner in value.items()}
    if isinstance(value, list | tuple) and depth:
        return [plain(inner, depth=depth - 1) for inner in value]
    return well_formed(str(value))
