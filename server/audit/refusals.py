"""Refusals on their way into the audit record: counted by who was refused what, and written now and then.

A client that is refused repeats itself, and so does whoever guesses: a window has one line for each, with a count, and
a bounded number of lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import structlog

from config.background import repeated_beside
from config.errors import FootnoteError
from server.auth.failures import network_of

if TYPE_CHECKING:
    from storage.audit.record import Refusal

WINDOW_SECONDS = 10.0
MOST_OF_ONE = 20
"""Lines of a window for one subject, or for one address where nobody is known; one more has what goes beyond."""
MOST, MOST_UNKNOWN = 500, 100
"""Lines of a window for all subjects, and for all addresses where nobody is known; who comes later shares one more."""
OTHERS = "other requests"
Who = tuple[str | None, str, str]
Key = tuple[Who, str, str, str | None]
_log = structlog.get_logger(__name__)


class Notes(Protocol):
    """Where refusals are written to: `storage.audit.record.AuditRecord`."""

    async def note(self, refusals: Sequence[Refusal]) -> None:
        """Write a line for each."""
        ...


@dataclass(slots=True)
class _Counted:
    first: Refusal
    count: int


class Refusals:
    """Counts refusals; use it from one event loop. What a process that is killed has counted is lost."""

    def __init__(self, record: Notes) -> None:
        self._record = record
        self._counted: dict[Key, _Counted] = {}
        self._of_one: Counter[Who] = Counter()
        self._of_all: Counter[bool] = Counter()

    def add(self, refusal: Refusal) -> None:
        """Count a refusal."""
        self._count(refusal, 1)

    def written(self) -> AbstractAsyncContextManager[None]:
        """Write what was counted now and then, and when the block ends."""
        return repeated_beside(self.write, seconds=WINDOW_SECONDS)

    async def write(self) -> None:
        """Write what was counted; if it cannot be written now, it is kept for the next time."""
        counted, self._counted = self._counted, {}
        self._of_one.clear()
        self._of_all.clear()
        if not counted:
            return
        lines = [replace(each.first, told={**each.first.told, "count": each.count}) for each in counted.values()]
        try:
            await self._record.note(lines)
        except FootnoteError as exc:
            _log.warning("refusals were not written into the audit record; another attempt follows", error=_name(exc))
            for each in counted.values():
                self._count(each.first, each.count)

    def _count(self, refusal: Refusal, times: int) -> None:
        who = _who(refusal)
        key = (who, refusal.action, refusal.about, refusal.key)
        if key not in self._counted and (self._of_one[who] >= MOST_OF_ONE or self._is_full(refusal)):
            refusal = _others(refusal, is_one_s=not self._is_full(refusal))
            who = _who(refusal)
            key = (who, refusal.action, refusal.about, refusal.key)
        if (counted := self._counted.get(key)) is not None:
            counted.count += times
            return
        self._counted[key] = _Counted(refusal, times)
        self._of_one[who] += 1
        self._of_all[refusal.tenant is not None] += 1

    def _is_full(self, refusal: Refusal) -> bool:
        is_known = refusal.tenant is not None
        return self._of_all[is_known] >= (MOST if is_known else MOST_UNKNOWN)


def _who(refusal: Refusal) -> Who:
    """Return who is refused: a subject of a tenant; where nobody is known, an address."""
    return refusal.tenant, refusal.subject, "" if refusal.tenant is not None else network_of(refusal.client or "")


def _others(refusal: Refusal, *, is_one_s: bool) -> Refusal:
    """Return what stands for the further refusals of one, or of everybody."""
    told = replace(refusal, about=OTHERS, key=None, request_id=None, trace_id=None, told={})
    return told if is_one_s else replace(told, tenant=None, subject="", client=None)


def _name(error: Exception) -> str:
    return type(error).__name__
