"""Checking the audit record against its chain: whether a line was changed, removed, moved or put in by hand.

Whoever may change everything in the database can also write the whole chain anew; a hash of the chain's head that was
noted elsewhere tells that, and a record that was cut at its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from storage.audit.chain import GENESIS, REMOVED, Entry, digest_of, is_bound_to
from storage.audit.lines import COLUMNS, line_of, moment
from storage.audit.pruned import Pruned, pruned_lines
from storage.audit.sealing import seal
from storage.caller import for_all_tenants
from storage.errors import StoreFailed, StoreTimeout

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Connection, Database

BATCH = 1000
MOST_TOLD = 20
_SNAPSHOT: Mapping[str, str | int] = {"transaction_isolation": "'repeatable read'", "statement_timeout": 0}
# Python has no other times; entries of those are counted, and told of
_ENTRIES = f"""
    SELECT c.sequence, c.at AS entry_at, c.id AS entry_id, c.digest, c.hash, {COLUMNS}
    FROM (SELECT * FROM footnote.audit_chain WHERE ($1::bigint IS NULL OR sequence > $1)
            AND at BETWEEN '0002-01-01Z' AND '9998-01-01Z' ORDER BY sequence LIMIT $2) c
    LEFT JOIN footnote.audit l ON l.at = c.at AND l.id = c.id ORDER BY c.sequence"""
_STRAYS = """
    SELECT l.id, l.at::text AS at FROM footnote.audit l
    WHERE NOT EXISTS (SELECT FROM footnote.audit_chain c WHERE c.at = l.at AND c.id = l.id)
        AND NOT EXISTS (SELECT FROM footnote.audit_pending p WHERE p.at = l.at AND p.id = l.id)
    ORDER BY l.at, l.id LIMIT $1"""
_FOR_TOO_LONG = "SELECT id, at::text AS at FROM footnote.audit WHERE at < $1 ORDER BY at, id LIMIT $2"
_FIRST_AT = f"SELECT f.entry_at FROM ({_ENTRIES}) f"


@dataclass(slots=True)
class Verdict:
    """What a check has found.

    Attributes:
        entries: of the chain, that were checked.
        dropped: of those, whose lines were dropped after their time.
        sequence: of the head.
        head: its hash, in hex; that of no entry at all is 64 zeros.
        pruned_before: lines of before were dropped after their time; None: none were.
        problems: the first ones, in words.
        problem_count: all of them.
        notices: what is no problem, and worth a look.

    """

    entries: int = 0
    dropped: int = 0
    sequence: int = 0
    head: str = GENESIS.hex()
    pruned_before: str | None = None
    problems: list[str] = field(default_factory=list)
    problem_count: int = 0
    notices: list[str] = field(default_factory=list)

    def add(self, problem: str) -> None:
        """Take note of a problem; only the first ones are kept."""
        self.problem_count += 1
        if len(self.problems) < MOST_TOLD:
            self.problems.append(problem)


@for_all_tenants
async def verify(database: Database, *, expected: str | None = None, retention_days: int | None = None) -> Verdict:
    """Check the whole record, as it is now.

    Memory is bounded; what is written meanwhile is for the next time.

    Args:
        database: its rows.
        expected: the hash of a head that was noted before, in hex; it must be in the chain, or one that it was cut at.
        retention_days: for which lines are kept by now, 0 for ever; that others were dropped is a notice.

    """
    verdict = Verdict()
    try:
        await seal(database, waits=True)
    except (StoreFailed, StoreTimeout) as exc:
        verdict.add(f"lines that wait could not be sealed: {exc}")
    async with database.transaction(local=_SNAPSHOT, readonly=True) as connection:
        dropped = await _look_for_dropped(connection, verdict, retention_days)
        check = _Check(verdict, dropped, expected=expected)
        while rows := await connection.fetch(_ENTRIES, check.last, BATCH):
            for row in rows:
                check.take(row)
        await _look_for_strays(connection, verdict, dropped.before)
        count = await connection.fetchval("SELECT count(*) FROM footnote.audit_chain")
    return check.done(count)


@dataclass(slots=True)
class _Dropped:
    """What accepted lines of retention say: the last one, the latest time, and which entries were cut off last."""

    last: Pruned | None = None
    before: datetime | None = None
    hashes: dict[str, int] = field(default_factory=dict)

    def add(self, said: Pruned) -> None:
        self.last = said
        self.before = max(self.before or said.before, said.before)
        self.hashes[said.hash.hex()] = said.sequence


async def _look_for_dropped(connection: Connection, verdict: Verdict, retention_days: int | None) -> _Dropped:
    dropped = _Dropped()
    first = await connection.fetchval(_FIRST_AT, None, 1)
    async for line, said in pruned_lines(connection):
        name = f"line {line.id} of {moment(line.at)}, which tells of dropped lines, is not believed"
        if not isinstance(said, Pruned):
            verdict.add(f"{name}: {said}")
        elif first < said.before:
            began = f"the chain begins with one of {moment(first)} still"
            verdict.add(f"{name}: all before {moment(said.before)} are said to be dropped, and {began}")
        else:
            dropped.add(said)
            if retention_days is not None and said.exceeds(retention_days) and len(verdict.notices) < MOST_TOLD:
                kept = f"{retention_days} days" if retention_days else "for ever"
                verdict.notices.append(
                    f"on {moment(said.at)} lines of before {moment(said.before)} were dropped, as kept for "
                    f"{said.days} days; the setting says: {kept}"
                )
    verdict.pruned_before = moment(dropped.before) if dropped.before else None
    return dropped


async def _look_for_strays(connection: Connection, verdict: Verdict, before: datetime | None) -> None:
    for row in await connection.fetch(_STRAYS, MOST_TOLD):
        verdict.add(f"line {row['id']} of {row['at']} is not in the chain")
    if before is not None:
        for row in await connection.fetch(_FOR_TOO_LONG, before, MOST_TOLD):
            told = f"all before {moment(before)} are said to be dropped"
            verdict.add(f"line {row['id']} of {row['at']} is there, though {told}")


class _Check:
    """Goes through the chain once."""

    def __init__(self, verdict: Verdict, dropped: _Dropped, *, expected: str | None) -> None:
        self.verdict = verdict
        self.last: int | None = None
        self._dropped = dropped
        self._expected = expected
        self._is_expected_found = expected in {None, GENESIS.hex()}
        self._previous: bytes | None = None

    def take(self, row: asyncpg.Record) -> None:
        """Check the next entry, and its line."""
        entry = Entry(row["sequence"], row["entry_at"], row["entry_id"], row["digest"], row["hash"])
        previous = self._before(entry)
        if previous is not None and not is_bound_to(entry, previous):
            self.verdict.add(f"entry {entry.sequence} of the chain was changed, or is out of its place")
        self._check_line(entry, row)
        self._previous = entry.hash
        self.verdict.entries += 1
        self.last = self.verdict.sequence = entry.sequence
        self.verdict.head = entry.hash.hex()
        self._is_expected_found = self._is_expected_found or self.verdict.head == self._expected

    def done(self, count: int) -> Verdict:
        """Return the verdict, after the last entry of so many."""
        if count != self.verdict.entries:
            self.verdict.add(f"of {count} entries of the chain {self.verdict.entries} can be read in their order")
        if not self._is_expected_found:
            self._look_among_dropped()
        return self.verdict

    def _look_among_dropped(self) -> None:
        """Look for what is expected among the entries that the chain was cut at; of others before, no hash is left."""
        number = self._dropped.hashes.get(self._expected or "")
        last = self._dropped.last
        if number is not None:
            told = f"the expected hash is that of entry {number}, at which the chain was cut"
            self.verdict.notices.append(f"{told} when lines were dropped after their time")
            return
        told = f"no entry of the chain has the hash {self._expected}: it was cut, or written anew"
        older = f", unless the hash was noted before entry {last.sequence}" if last and last.entry else ""
        self.verdict.add(f"{told}{older}")

    def _before(self, entry: Entry) -> bytes | None:
        """Return the hash that an entry is to be bound to; None where the one before is missing, which is told."""
        if self.last is not None and entry.sequence != self.last + 1:
            self.verdict.add(f"after entry {self.last} of the chain comes {entry.sequence}")
            return None
        if self._previous is not None or entry.sequence == 1:
            return self._previous or GENESIS
        if (said := self._dropped.last) is not None and said.sequence == entry.sequence - 1:
            return said.hash
        self.verdict.add(f"the chain begins with entry {entry.sequence}, and no line says that others were dropped")
        return None

    def _check_line(self, entry: Entry, row: asyncpg.Record) -> None:
        name = f"line {entry.id} of {moment(entry.at)}, entry {entry.sequence},"
        if row["id"] is not None:
            if digest_of(line_of(row)) != entry.digest:
                self.verdict.add(f"{name} was changed")
        elif self._dropped.before is not None and entry.at < self._dropped.before:
            self.verdict.dropped += 1
        elif entry.digest == REMOVED:
            self.verdict.add(f"{name} was removed before it was sealed")
        else:
            self.verdict.add(f"{name} was removed")
