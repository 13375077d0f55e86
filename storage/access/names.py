"""Names of whom something is counted for, as keys of tables."""

from __future__ import annotations

import hashlib

from storage.database import storable

LONGEST = 512
"""Bytes of a name in a key; an index refuses keys of some 2,700."""
_KEPT = 400


def key_name(name: str) -> str:
    """Return a name as it stands in a key: itself, or its beginning and a hash where it is long or cannot be stored.

    To cut it, or to leave characters out, would let one use up another's limits.
    """
    kept = storable(name)
    if kept == name and len(name.encode()) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kept.encode()[:_KEPT].decode(errors='ignore')}…{digest}"
