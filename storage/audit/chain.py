"""The hashes that bind each line of the audit record to all that were sealed before it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.audit.lines import AuditLine, moment

LOCK = 0x466F6F74_41756469  # "FootAudi": advisory, of whoever adds to the chain, or takes from its beginning
GENESIS = bytes(32)
"""What the first entry of all is bound to."""
REMOVED = bytes(32)
"""The digest of a line that was gone when it was to be sealed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line's place in the chain."""

    sequence: int
    at: datetime
    id: UUID
    digest: bytes
    hash: bytes


def digest_of(line: AuditLine) -> bytes:
    """Return the SHA-256 of all that a line says: its facts as sorted JSON, its states as they are stored."""
    said = {**line.facts(), "before": line.before_json, "after": line.after_json}
    return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()


def entry_after(previous: bytes, *, sequence: int, at: datetime, line_id: UUID, digest: bytes) -> Entry:
    """Return the entry of a line: its hash is that of the one before, its own place and its digest."""
    bound = "\n".join([previous.hex(), str(sequence), moment(at), str(line_id), digest.hex()])
    return Entry(sequence, at, line_id, digest, hashlib.sha256(bound.encode()).digest())


def is_bound_to(entry: Entry, previous: bytes) -> bool:
    """Tell whether an entry's hash is what it must be after that of the one before."""
    expected = entry_after(previous, sequence=entry.sequence, at=entry.at, line_id=entry.id, digest=entry.digest)
    return expected.hash == entry.hash
