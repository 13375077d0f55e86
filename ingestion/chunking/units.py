"""The units that chunks are packed of: sentences, and blocks that are whole unless they alone exceed a chunk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING

from ingestion.chunking.blocks import Block, Kind, blocks
from ingestion.chunking.counting import Counts
from ingestion.chunking.packing import Unit, tokens_of
from ingestion.chunking.pages import Pages
from ingestion.chunking.sentences import Span, finer, sentences, trimmed

if TYPE_CHECKING:
    from ingestion.types import Extracted

_DEFINITION = re.compile(r"\n[ \t]*\n(?=[^\s}\])])")  # a blank line before a line that is not indented
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_LINE_END = re.compile(r"\n")
_HARDLY = 3  # characters a token, of text that is dense
_LONGEST_LIST = 100  # items that are looked at
_LED_IN: tuple[Kind, ...] = ("item", "code", "table")

_Piece = tuple[Kind, int, Span]
_Cut = Callable[[Kind, int, int], Iterable[Span]]


@dataclass(frozen=True, slots=True)
class _Part:
    """A unit with the block that it is of; `block` is the block's start, of prose the unit's own."""

    kind: Kind
    block: int
    unit: Unit


class Units:
    """Cuts one document's text into units.

    Args:
        extracted: the document.
        pages: of it.
        counts: of tokens.

    """

    def __init__(self, extracted: Extracted, *, pages: Pages, counts: Counts) -> None:
        self._text = extracted.text
        self._rows = extracted.rows
        self._pages = pages
        self._counts = counts

    def of(self, start: int, end: int, budget: int) -> list[Unit]:
        """Return the units of ``text[start:end]``, none longer than `budget`, none of two pages but for a sentence."""
        pieces = self._measured(chain.from_iterable(self._spans(block, budget) for block in self._blocks(start, end)))
        parts = list(_whole(pieces, budget))
        for cut in (self._inside, self._paragraphs, *map(_regardless, (self._pages.apart, *finer(self._text)))):
            if all(part.unit.tokens <= budget for part in parts):
                break
            parts = self._smaller(parts, cut, budget)
        return [part.unit for part in self._led_in(parts, budget)]

    def _blocks(self, start: int, end: int) -> list[Block]:
        """Return the blocks of each page; prose that may run over a page's end is one."""
        found: list[Block] = []
        for begin, stop in pairwise([start, *self._pages.between(start, end), end]):
            for block in blocks(self._text, begin, stop, rows=self._rows):
                runs_on = block.start == begin > start and block.kind == "prose" and bool(found)
                if runs_on and found[-1].kind in {"prose", "item"} and found[-1].end <= begin:
                    found[-1] = replace(found[-1], kind="prose", end=block.end)
                else:
                    found.append(block)
        return found

    def _spans(self, block: Block, budget: int) -> Iterator[_Piece]:
        """Yield the sentences of prose, other blocks whole; those that hardly fit in pieces, counted once."""
        if block.kind == "prose":
            spans = self._pages.cut(sentences(self._text, block.start, block.end))
            yield from ((block.kind, start, (start, end)) for start, end in spans)
        elif block.end - block.start > (1 if block.kind == "table" else _HARDLY) * budget:
            spans = self._inside(block.kind, block.start, block.end)
            yield from ((block.kind, block.start, span) for span in spans)
        else:
            yield from ((block.kind, block.start, span) for span in trimmed(self._text, block.start, block.end))

    def _inside(self, kind: Kind, start: int, end: int) -> Iterable[Span]:
        """Cut a list item into sentences, code before definitions, others into lines."""
        if kind == "item":
            return self._pages.cut(sentences(self._text, start, end))
        if kind == "prose":
            return [(start, end)]
        return self._between(_DEFINITION if kind == "code" else _LINE_END, start, end)

    def _paragraphs(self, kind: Kind, start: int, end: int) -> Iterable[Span]:
        """Cut code at blank lines."""
        return self._between(_BLANK_LINE, start, end) if kind == "code" else [(start, end)]

    def _between(self, pattern: re.Pattern[str], start: int, end: int) -> Iterator[Span]:
        begin = start
        for found in pattern.finditer(self._text, start, end):
            yield from trimmed(self._text, begin, found.end())
            begin = found.end()
        yield from trimmed(self._text, begin, end)

    def _led_in(self, parts: Sequence[_Part], budget: int) -> Iterator[_Part]:
        """Yield the parts; a sentence that leads in a list, code or a table is one with it if both fit into a chunk."""
        place = 0
        while place < len(parts):
            last = place + 1
            if parts[place].kind == "prose" and self._text[parts[place].unit.end - 1] == ":":
                last = self._last_led_in(parts, place, budget)
            yield parts[place] if last == place + 1 else _joined(parts[place:last])
            place = last

    def _last_led_in(self, parts: Sequence[_Part], place: int, budget: int) -> int:
        """Return the end of what the sentence at `place` leads in: a whole list, else its first item, if they fit."""
        page = self._pages.number(parts[place].unit.start)
        last = place + 1
        while last < len(parts) and parts[last].kind in _LED_IN and self._pages.number(parts[last].unit.start) == page:
            last += 1
            if parts[last - 1].kind != "item" or last - place > _LONGEST_LIST:
                break
        for end in (last, place + 2):
            if end <= last and tokens_of([part.unit for part in parts[place:end]]) <= budget:
                return end
        return place + 1

    def _smaller(self, parts: Sequence[_Part], cut: _Cut, budget: int) -> list[_Part]:
        """Cut the parts that exceed the budget."""
        smaller: list[_Part] = []
        for part in parts:
            if part.unit.tokens <= budget:
                smaller.append(part)
                continue
            spans = cut(part.kind, part.unit.start, part.unit.end)
            smaller += self._measured((part.kind, part.block, span) for span in spans)
        return smaller

    def _measured(self, pieces: Iterable[_Piece]) -> list[_Part]:
        everything = list(pieces)
        sizes = self._counts.of([self._text[start:end] for _, _, (start, end) in everything])
        return [
            _Part(kind, block, Unit(start, end, tokens))
            for (kind, block, (start, end)), tokens in zip(everything, sizes, strict=True)
        ]


def _whole(pieces: Sequence[_Part], budget: int) -> Iterator[_Part]:
    """Yield the pieces, those of a block as one if they fit into a chunk."""
    for _, group in groupby(pieces, key=attrgetter("block")):
        of_block = list(group)
        fits = len(of_block) > 1 and tokens_of([part.unit for part in of_block]) <= budget
        yield from [_joined(of_block)] if fits else of_block


def _regardless(cut: Callable[[int, int], Iterator[Span]]) -> _Cut:
    """Return a cut of text as a cut of every kind of block."""
    return lambda _, start, end: cut(start, end)


def _joined(parts: Sequence[_Part]) -> _Part:
    units = [part.unit for part in parts]
    return _Part(parts[0].kind, parts[0].block, Unit(units[0].start, units[-1].end, tokens_of(units)))
