"""The units that chunks are packed of: sentences, and blocks that are whole unless they alone exceed a chunk."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING

from ingestion.chunking.blocks import Block, Kind, blocks
from ingestion.chunking.packing import CHARS_PER_TOKEN, Unit, tokens_of
from ingestion.chunking.pages import Pages
from ingestion.chunking.sentences import Span, finer, sentences, trimmed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ingestion.types import Extracted

_BATCH = 2048  # spans tokenized at once: each takes memory for its tokens
_DEFINITION = re.compile(r"\n[ \t]*\n(?=[^\s}\])])")  # a blank line before a line that is not indented
_BLANK_LINE = re.compile(r"\n[ \t]*\n")
_LONGEST_LIST = 100  # items that are looked at
_LED_IN: tuple[Kind, ...] = ("item", "code", "table")


@dataclass(frozen=True, slots=True)
class _Part:
    """A unit with what it is of."""

    kind: Kind
    unit: Unit


class Units:
    """Cuts one document's text into units.

    Args:
        extracted: the document.
        pages: of it.
        tokenizer: the embedding model's.
        max_tokens: what the model reads at once.

    """

    def __init__(self, extracted: Extracted, *, pages: Pages, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._text = extracted.text
        self._rows = extracted.rows
        self._pages = pages
        self._tokenizer = tokenizer
        self._longest = max_tokens * CHARS_PER_TOKEN

    def of(self, start: int, end: int, budget: int) -> list[Unit]:
        """Return the units of ``text[start:end]``, none longer than `budget`, none of two pages but for a sentence."""
        parts = self._measured(chain.from_iterable(map(self._spans, self._blocks(start, end))))
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

    def _spans(self, block: Block) -> Iterator[tuple[Kind, Span]]:
        if block.kind == "prose":
            spans = self._pages.cut(sentences(self._text, block.start, block.end))
        else:
            spans = trimmed(self._text, block.start, block.end)
        return ((block.kind, span) for span in spans)

    def _inside(self, part: _Part) -> Iterator[Span]:
        """Cut a list item into sentences, code before definitions."""
        start, end = part.unit.start, part.unit.end
        if part.kind == "item":
            return self._pages.cut(sentences(self._text, start, end))
        return self._between(_DEFINITION, start, end) if part.kind == "code" else iter([(start, end)])

    def _paragraphs(self, part: _Part) -> Iterator[Span]:
        """Cut code at blank lines."""
        start, end = part.unit.start, part.unit.end
        return self._between(_BLANK_LINE, start, end) if part.kind == "code" else iter([(start, end)])

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

    def _smaller(self, parts: Sequence[_Part], cut: Callable[[_Part], Iterator[Span]], budget: int) -> list[_Part]:
        """Cut the parts that exceed the budget."""
        smaller: list[_Part] = []
        for part in parts:
            smaller += [part] if part.unit.tokens <= budget else self._measured((part.kind, span) for span in cut(part))
        return smaller

    def _measured(self, spans: Iterable[tuple[Kind, Span]]) -> list[_Part]:
        parts: list[_Part] = []
        everything = list(spans)
        for first in range(0, len(everything), _BATCH):
            batch = everything[first : first + _BATCH]
            # too long for any chunk: not tokenized, as its parts will be
            texts = [self._text[start : min(end, start + self._longest)] for _, (start, end) in batch]
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            for (kind, (start, end)), encoding in zip(batch, encodings, strict=True):
                tokens = max(len(encoding), (end - start) // CHARS_PER_TOKEN)
                parts.append(_Part(kind, Unit(start, end, tokens)))
        return parts


def _regardless(cut: Callable[[int, int], Iterator[Span]]) -> Callable[[_Part], Iterator[Span]]:
    """Return a cut of text as a cut of parts of every kind."""
    return lambda part: cut(part.unit.start, part.unit.end)


def _joined(parts: Sequence[_Part]) -> _Part:
    units = [part.unit for part in parts]
    return _Part(parts[0].kind, Unit(units[0].start, units[-1].end, tokens_of(units)))
