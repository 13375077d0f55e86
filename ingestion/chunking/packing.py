"""Packing units of text into chunks within a token budget, with overlap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

CHARS_PER_TOKEN = 24  # also bound characters: a megabyte of blanks, or an unknown word, may be few tokens


class Unit(NamedTuple):
    """An indivisible part of a text, and its tokens."""

    start: int
    end: int
    tokens: int


def tokens_of(units: Sequence[Unit]) -> int:
    """Return the tokens of adjacent units, including the white space between them."""
    gaps = sum((after.start - before.end) // CHARS_PER_TOKEN for before, after in pairwise(units))
    return gaps + sum(unit.tokens for unit in units)


def packed(units: Sequence[Unit], *, budget: int, overlap: int, small: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first, first new, last + 1) of units, each range within the budget."""
    starts: list[int] = []
    begins: list[int] = []
    index = 0
    while index < len(units):
        begin = _back(units, index, overlap=min(overlap, budget - units[index].tokens))
        starts.append(index)
        begins.append(begin)
        used = tokens_of(units[begin : index + 1])
        index += 1
        while index < len(units):
            used += units[index].tokens + (units[index].start - units[index - 1].end) // CHARS_PER_TOKEN
            if used > budget:
                break
            index += 1
    if len(starts) > 1 and tokens_of(units[starts[-1] :]) < small:
        starts[-1] = min(starts[-1], _middle(units, starts[-2], len(units)))
        room = budget - tokens_of(units[starts[-1] :])
        begins[-1] = _back(units, starts[-1], overlap=min(overlap, room))
    yield from zip(begins, starts, [*starts[1:], len(units)], strict=True)


def _back(units: Sequence[Unit], index: int, *, overlap: int) -> int:
    """Return the first unit of a chunk that may repeat `overlap` tokens before its first new unit."""
    begin, used = index, 0
    while begin > 0:
        gap = (units[begin].start - units[begin - 1].end) // CHARS_PER_TOKEN
        used += units[begin - 1].tokens + gap
        if used > overlap:
            break
        begin -= 1
    return begin


def _middle(units: Sequence[Unit], first: int, last: int) -> int:
    """Return the unit, after `first`, at which the second half of the tokens begins."""
    half = tokens_of(units[first:last]) / 2
    used = 0
    for index in range(first, last - 1):
        used += units[index].tokens
        if used >= half:
            return index + 1
    return last - 1
