"""The hierarchy of a document's chunks, derived from their headings and pages: nested sections, up to the document.

Nothing of it is stored. A chunk's parents are the runs of consecutive chunks under the same heading, under the heading
above that one, and so on up to the document; without headings, its pages; without pages, groups of a fixed number of
chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from ingestion.chunking.context import SEPARATOR
from storage.search.neighbours import StoredChunk

Key = Callable[[StoredChunk], Hashable]


class Range(NamedTuple):
    """Consecutive chunks, as the positions of the first and the last one in a run."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class MergingRule:
    """When a parent replaces its children.

    Attributes:
        ratio: more than this fraction of its children must have been found.
        longest: maximum length of a parent in characters.
        group: chunks of a parent if there are neither headings nor pages.

    """

    ratio: float
    longest: float
    group: int


@dataclass(frozen=True, slots=True)
class _Unit:
    span: Range
    is_there: bool


def merge(run: Sequence[StoredChunk], hits: set[int], *, of: int, rule: MergingRule) -> list[Range]:
    """Return the hits in order, with parents in place of those whose parent has enough hits.

    From level to level a parent counts as one child of the next, as in LlamaIndex's `AutoMergingRetriever`.

    Args:
        run: consecutive chunks of a document; what lies beyond its ends is not known, so that a parent which reaches
            one of them is never whole, unless the document ends there.
        hits: positions in the run.
        of: how many chunks the document has.
        rule: see there.

    """
    units = [_Unit(Range(place, place), place in hits) for place in range(len(run))]
    given = {Range(place, place) for place in hits}
    for key in _levels(run, group=rule.group):
        parents = [list(children) for _, children in groupby(units, key=lambda unit: key(run[unit.span.first]))]
        units = [_parent(children, run, of=of, rule=rule) for children in parents]
        for unit in units:
            if unit.is_there and unit.span not in given:
                given = {span for span in given if not unit.span.first <= span.first <= unit.span.last} | {unit.span}
    return sorted(given)


def common_path(chunks: Sequence[StoredChunk]) -> str | None:
    """Return the headings that all of the chunks share."""
    paths = [_path(chunk) for chunk in chunks]
    common = paths[0]
    for path in paths[1:]:
        same = [one == other for one, other in zip(common, path, strict=False)]
        common = common[: same.index(False) if False in same else len(same)]
    return SEPARATOR.join(common) or None


def _parent(children: list[_Unit], run: Sequence[StoredChunk], *, of: int, rule: MergingRule) -> _Unit:
    if len(children) == 1:
        return children[0]
    span = Range(children[0].span.first, children[-1].span.last)
    first, last = run[span.first], run[span.last]
    is_whole = (span.first > 0 or first.index == 0) and (span.last < len(run) - 1 or last.index == of - 1)
    share = sum(child.is_there for child in children) / len(children)
    return _Unit(span, is_whole and share > rule.ratio and last.end - first.start <= rule.longest)


def _levels(run: Sequence[StoredChunk], *, group: int) -> list[Key]:
    """Return functions from a chunk to its parent's key, lowest level first; chunks of one parent share the key."""
    deepest = max(len(_path(chunk)) for chunk in run)
    levels: list[Key] = [lambda chunk, depth=depth: _path(chunk)[:depth] for depth in range(deepest, 0, -1)]  # type: ignore[misc]
    if not levels and any(chunk.page is not None for chunk in run):
        levels = [lambda chunk: chunk.page]
    if not levels:
        levels = [lambda chunk: chunk.index // group]
    return [*levels, lambda _: None]


def _path(chunk: StoredChunk) -> tuple[str, ...]:
    heading = chunk.metadata.get("heading")
    return tuple(heading.split(SEPARATOR)) if isinstance(heading, str) and heading else ()
