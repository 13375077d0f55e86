"""What the record says of lines that were dropped after their time, and whether that is to be believed.

Who may write anything could write such a line, too, to excuse what he removed. So a line counts only as far as it can
be checked: it is sealed, drops no more than its own time and days allow, shows the last entry that it cut, whose hash
binds that entry's time, and the chain begins after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from storage.audit.chain import GENESIS, Entry, digest_of, is_bound_to
from storage.audit.lines import COLUMNS, AuditLine, line_of, moment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from storage.database import Connection

ACTION = "audit.prune"
"""The action of the line that tells of what was dropped: where the chain begins since, and after which entry."""
BATCH = 200
MOST_DAYS = 36_500
CLOCKS_DIFFER = timedelta(minutes=5)
_LINES = f"""
    SELECT c.sequence, c.digest, now() AS now, {COLUMNS}
    FROM footnote.audit l JOIN footnote.audit_chain c ON c.at = l.at AND c.id = l.id
    WHERE l.action = $1 AND c.at BETWEEN '0002-01-01Z' AND '9998-01-01Z'
        AND ($2::bigint IS NULL OR c.sequence > $2) ORDER BY c.sequence LIMIT $3"""


class Doubtful(ValueError):
    """A line of retention that Footnote has not written so; the message says why."""

    def __init__(self, reason: str = "it is not as Footnote writes such lines") -> None:
        """Say why."""
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a line says: that all of before a time was dropped, and which entry was cut off last.

    Attributes:
        at: when it was written.
        days: for which lines were kept.
        entry: the last one that was cut off; None: the chain was not cut.
        previous: the hash before that entry.

    """

    at: datetime
    before: datetime
    days: int
    entry: Entry | None
    previous: bytes = GENESIS

    @property
    def sequence(self) -> int:
        """The number of the entry that was cut off last; 0: there is none."""
        return self.entry.sequence if self.entry else 0

    @property
    def hash(self) -> bytes:
        """The hash that the first entry of the chain is bound to."""
        return self.entry.hash if self.entry else GENESIS

    def exceeds(self, days: int) -> bool:
        """Tell whether lines were dropped that are kept where they are kept for so many days; 0: for ever."""
        return not days or self.before > month_of(self.at - timedelta(days=days))


async def pruned_lines(connection: Connection) -> AsyncIterator[tuple[AuditLine, Pruned | Doubtful]]:
    """Yield the sealed lines of retention, in the chain's order, each with what it says, or why that is doubtful.

    One that differs from what was sealed is left out.
    """
    after: int | None = None
    while rows := await connection.fetch(_LINES, ACTION, after, BATCH):
        for row in rows:
            line = line_of(row)
            if digest_of(line) == row["digest"]:
                yield line, _read(line, now=row["now"])
        after = rows[-1]["sequence"]


def month_of(day: datetime) -> datetime:
    """Return the beginning of the month, in UTC, of a time."""
    return day.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def told_of(previous: bytes, entry: Entry | None) -> Mapping[str, object]:
    """Return what a line says of the entry that was cut off last, and the hash before that."""
    if entry is None:
        return {"sequence": 0, "hash": GENESIS.hex()}
    shown = {"at": moment(entry.at), "id": str(entry.id), "digest": entry.digest.hex(), "previous": previous.hex()}
    return {"sequence": entry.sequence, "hash": entry.hash.hex(), "entry": shown}


def _read(line: AuditLine, *, now: datetime) -> Pruned | Doubtful:
    try:
        return _pruned_of(line, now=now)
    except Doubtful as exc:
        return exc
    except (ValueError, OverflowError, RecursionError):
        return Doubtful()


def _pruned_of(line: AuditLine, *, now: datetime) -> Pruned:
    said = _members(line.after)
    days, before = _whole(said.get("retention_days")), _time(said.get("before"))
    if line.at > now + CLOCKS_DIFFER:
        reason = "its time has not come"
        raise Doubtful(reason)
    if not 1 <= days <= MOST_DAYS or month_of(before) != before or before > month_of(line.at - timedelta(days=days)):
        reason = f"{moment(before)} is no month's beginning that was {days} days past by then"
        raise Doubtful(reason)
    sequence, sealed = _whole(said.get("sequence")), _hash(said.get("hash"))
    if sequence == 0 and sealed == GENESIS:
        return Pruned(line.at, before, days, None)
    shown = _members(said.get("entry"))
    entry = Entry(sequence, _time(shown.get("at")), UUID(str(shown.get("id"))), _hash(shown.get("digest")), sealed)
    previous = _hash(shown.get("previous"))
    if not is_bound_to(entry, previous):
        reason = f"entry {sequence}, which it shows, has another hash"
        raise Doubtful(reason)
    if entry.at >= before:
        reason = f"entry {sequence}, which it has cut, is of {moment(entry.at)}"
        raise Doubtful(reason)
    return Pruned(line.at, before, days, entry, previous)


def _members(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Doubtful
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Doubtful
    return value


def _time(value: object) -> datetime:
    found = datetime.fromisoformat(str(value))
    if moment(found) != value:
        raise Doubtful
    return found


def _hash(value: object) -> bytes:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value, re.ASCII):
        raise Doubtful
    return bytes.fromhex(value)
