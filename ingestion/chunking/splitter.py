"""Splits documents into chunks, measured with the embedding model's tokenizer.

A document is cut at headings and pages, sections at sentences; chunks are packed up to the model's limit, the last two
of a section evenly. Small neighbouring sections of a page share a chunk, so that no vector is spent on five tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from ingestion.chunking.context import SEPARATOR, Contexts, context_line
from ingestion.chunking.counting import Counts
from ingestion.chunking.packing import CHARS_PER_TOKEN, Unit, packed, tokens_of
from ingestion.chunking.pages import Pages
from ingestion.chunking.rows import Rows
from ingestion.chunking.sections import Section, sections
from ingestion.chunking.units import Units
from ingestion.types import Chunk, Extracted

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MIN_TOKENS = 16
_BLANKS = " \n\t"


def embed_text(title: str, chunk: Chunk) -> str:
    """Return the text to embed for a chunk; it fits the model's limit if `title` is the one it was split with."""
    line = context_line(title, chunk.heading)
    line = line[max(0, len(line) - chunk.context_chars) :]
    return f"{line}\n{chunk.text}" if line else chunk.text


def split(
    extracted: Extracted, *, tokenizer: Tokenizer, max_tokens: int, overlap: int, counts: Counts | None = None
) -> tuple[Chunk, ...]:
    """Split a document into chunks.

    Each is ``text[start:end]``; together they contain every character that is not white space. The result of
    `embed_text` has at most `max_tokens` tokens, including those that the model adds. A sentence is cut only if it does
    not fit into a chunk.

    Args:
        extracted: the document.
        tokenizer: the embedding model's, with truncation and padding switched off.
        max_tokens: what the model reads at once, at least 16.
        overlap: tokens, in whole sentences, that a chunk may repeat from the one before it in the same section.
        counts: of the same tokenizer, if `with_repeated_headers` has counted rows of this document.

    """
    if max_tokens < MIN_TOKENS:
        msg = f"a chunk needs at least {MIN_TOKENS} tokens"
        raise ValueError(msg)
    contexts = Contexts(extracted.title, tokenizer=tokenizer, max_tokens=max_tokens)
    counts = counts or Counts(tokenizer, max_tokens=max_tokens)
    return _Splitter(extracted, contexts=contexts, counts=counts, max_tokens=max_tokens, overlap=overlap).chunks()


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk under construction; its overlap ends at `fresh`, and `exact` tells whether `tokens` is exact."""

    start: int
    fresh: int
    end: int
    tokens: int
    section: Section
    path: tuple[str, ...]
    exact: bool


class _Splitter:
    def __init__(
        self, extracted: Extracted, *, contexts: Contexts, counts: Counts, max_tokens: int, overlap: int
    ) -> None:
        self._extracted = extracted
        self._text = extracted.text
        self._max_tokens = max_tokens
        self._overlap = overlap
        self._small = max_tokens // 4
        self._additive = counts.are_additive
        self._contexts = contexts
        self._pages = Pages(extracted.text, extracted.pages)
        self._rows = Rows(extracted.text, extracted.rows)
        self._units = Units(extracted, pages=self._pages, counts=counts)

    def chunks(self) -> tuple[Chunk, ...]:
        """Return the chunks, each within the limit."""
        pieces = [piece for section in sections(self._extracted) for piece in self._cut(section)]
        fitting = (part for piece in self._join(pieces) for part in self._fit(piece))
        return tuple(self._chunk(index, piece) for index, piece in enumerate(_without_repeats(fitting)))

    def _chunk(self, index: int, piece: _Piece) -> Chunk:
        row, row_end = self._rows.within(piece.start, piece.end)
        return Chunk(
            index=index,
            text=self._text[piece.start : piece.end],
            start=piece.start,
            end=piece.end,
            heading=SEPARATOR.join(piece.path) or None,
            page=self._pages.number(piece.start),
            page_end=self._pages.number(piece.end - 1),
            row=row,
            row_end=row_end,
            context_chars=self._contexts.of(piece.path).chars,
        )

    def _cut(self, section: Section, *, budget: int | None = None) -> Iterator[_Piece]:
        """Pack the section's sentences into chunks, those of each page apart."""
        limit = self._contexts.of(section.path).budget if budget is None else budget
        units = self._units.of(section.start, section.end, limit)
        for _, of_page in groupby(units, key=lambda unit: self._pages.number(unit.start)):
            yield from self._packed(section, list(of_page), limit)

    def _packed(self, section: Section, units: Sequence[Unit], limit: int) -> Iterator[_Piece]:
        for first, fresh, last in packed(
            units, budget=limit, overlap=min(self._overlap, limit // 2), small=self._small
        ):
            inside = units[first:last]
            exact = self._additive and all(self._apart(one.end, other.start) for one, other in pairwise(inside))
            yield _Piece(
                start=inside[0].start,
                fresh=units[fresh].start,
                end=inside[-1].end,
                tokens=tokens_of(inside),
                section=section,
                path=section.path,
                exact=exact,
            )

    def _apart(self, end: int, start: int) -> bool:
        return end < start and self._text[end] in _BLANKS

    def _join(self, pieces: Sequence[_Piece]) -> list[_Piece]:
        """Join small neighbouring sections."""
        joined: list[_Piece] = []
        for piece in pieces:
            path = self._common(joined[-1], piece) if joined else None
            if path is None:
                joined.append(piece)
                continue
            previous = joined.pop()
            joined.append(
                _Piece(
                    start=previous.start,
                    fresh=previous.fresh,
                    end=piece.end,
                    tokens=previous.tokens + piece.tokens + (piece.start - previous.end) // CHARS_PER_TOKEN,
                    section=piece.section,
                    path=path,
                    exact=previous.exact and piece.exact and self._apart(previous.end, piece.start),
                )
            )
        return joined

    def _common(self, first: _Piece, second: _Piece) -> tuple[str, ...] | None:
        """Return the heading path of two neighbours as one chunk; None if they should stay separate."""
        if self._pages.number(first.start) != self._pages.number(second.start):
            return None
        if first.section is second.section or (first.tokens >= self._small and second.tokens >= self._small // 2):
            return None
        if second.path[: len(first.path)] == first.path:
            path = first.path
        elif first.path[: len(second.path) - 1] == second.path[:-1]:
            path = second.path[:-1]
        else:
            return None
        tokens = first.tokens + (second.start - first.end) // CHARS_PER_TOKEN + second.tokens
        larger = max(first, second, key=lambda piece: piece.tokens)
        if larger.tokens * 4 >= tokens * 3:
            path = larger.path
        return path if tokens <= self._contexts.of(path).budget else None

    def _fit(self, piece: _Piece) -> Iterator[_Piece]:
        """Yield the piece, or smaller ones if the exact token count exceeds the limit."""
        excess = 0 if piece.exact else self._excess(piece)
        budget = max(1, min(piece.tokens, self._contexts.of(piece.path).budget) - excess)
        if excess <= 0 or budget >= piece.tokens:
            yield piece
            return
        for part in self._cut(Section(piece.fresh, piece.end, piece.path), budget=budget):
            yield from self._fit(part)

    def _excess(self, piece: _Piece) -> int:
        return self._contexts.tokens(embed_text(self._extracted.title, self._chunk(0, piece))) - self._max_tokens


def _without_repeats(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Leave out chunks that a later one contains entirely; this happens after splitting pieces that were too long."""
    kept: list[_Piece] = []
    for piece in pieces:
        while kept and kept[-1].start >= piece.start:
            kept.pop()
        kept.append(piece)
    return kept
