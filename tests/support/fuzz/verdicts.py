"""Judges what became of a damaged file."""

from __future__ import annotations

import re
from dataclasses import dataclass

from support.fuzz.mutations import Mutated
from support.fuzz.words import words

from ingestion.types import Parsed, Skipped

_FAILURES = (
    ("crash", re.compile(r"the reader crashed on it|killed, again")),
    ("exception", re.compile(r"the reader failed on it")),
    ("time", re.compile(r"took longer than")),
    ("memory", re.compile(r"MiB of memory")),
)
MOST_SHOWN = 8


@dataclass(frozen=True)
class Original:
    """What is read of a file before it is damaged.

    Attributes:
        words: all of it.
        pages: of each page, the words that are on no other; empty if the format has no pages.

    """

    words: frozenset[str]
    pages: tuple[frozenset[str], ...] = ()


@dataclass(frozen=True)
class Finding:
    """Something that a reader must not do.

    Attributes:
        kind: ``crash``, ``exception``, ``time``, ``memory`` or ``silent loss``.
        detail: what was seen.

    """

    kind: str
    detail: str


def original(read: Parsed | Skipped) -> Original:
    """Return what is to be compared with; nothing of a file that is refused."""
    if isinstance(read, Skipped):
        return Original(frozenset())
    on_page: dict[int, set[str]] = {}
    for chunk in read.chunks:
        on_page.setdefault(chunk.page or 0, set()).update(words(chunk.text))
    pages = [on_page.get(number, set()) for number in range(1, len(read.pages) + 1)]
    return Original(
        words(_text(read)),
        tuple(frozenset(page - set().union(*(other for other in pages if other is not page))) for page in pages),
    )


def judge(read: Parsed | Skipped, *, mutated: Mutated, original: Original) -> Finding | None:
    """Return what is wrong with an outcome; None if nothing is. A file may be refused, for a reason that names it."""
    if isinstance(read, Skipped):
        return next((Finding(kind, read.reason) for kind, reason in _FAILURES if reason.search(read.reason)), None)
    if read.warnings:
        return None
    found = words(_text(read))
    lost = sorted((mutated.kept & original.words) - found)
    if lost:
        return Finding("silent loss", f"{len(lost)} words that were left alone, such as {lost[:MOST_SHOWN]}")
    gone = [number for number, page in enumerate(original.pages, 1) if page and not page & found]
    if mutated.pages and len(gone) > 1:
        return Finding("silent loss", f"all of pages {gone[:MOST_SHOWN]}")
    return None


def _text(read: Parsed) -> str:
    return "\n".join(chunk.text for chunk in read.chunks)
