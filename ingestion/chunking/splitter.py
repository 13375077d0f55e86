"""Splits documents into chunks, measured with the embedding model's tokenizer.

A document is cut at headings, sections at sentences; chunks are packed up to the model's limit, the last two of a
section evenly. Small neighbouring sections share a chunk, so that no vector is spent on five tokens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ingestion.chunking.packing import CHARS_PER_TOKEN, Unit, packed, tokens_of
from ingestion.chunking.sentences import Span, finer, sentences
from ingestion.types import CONTEXT_CHARS, Chunk, Extracted

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEPARATOR = " > "
MIN_TOKENS = 16
_BATCH = 2048  # spans tokenized at once: each takes memory for its tokens
_BLANKS = " \n\t"


def context_line(title: str, heading: str | None) -> str:
    """Return the context line embedded above a chunk: title and path of headings, without repetition."""
    if heading is None or heading == title:
        return title
    return heading if heading.startswith(title + SEPARATOR) else title + SEPARATOR + heading


def embed_text(title: str, chunk: Chunk) -> str:
    """Return the text to embed for a chunk; it fits the model's limit if `title` is the one it was split with."""
    line = context_line(title, chunk.heading)
    line = line[max(0, len(line) - chunk.context_chars) :]
    return f"{line}\n{chunk.text}" if line else chunk.text


def split(extracted: Extracted, *, tokenizer: Tokenizer, max_tokens: int, overlap: int) -> tuple[Chunk, ...]:
    """Split a document into chunks.

    Each is ``text[start:end]``; together they contain every character that is not white space. The result of
    `embed_text` has at most `max_tokens` tokens, including those that the model adds. A sentence is cut only if it does
    not fit into a chunk.

    Args:
        extracted: the document.
        tokenizer: the embedding model's, with truncation and padding switched off.
        max_tokens: what the model reads at once, at least 16.
        overlap: tokens, in whole sentences, that a chunk may repeat from the one before it in the same section.

    """
    if max_tokens < MIN_TOKENS:
        msg = f"a chunk needs at least {MIN_TOKENS} tokens"
        raise ValueError(msg)
    return _Splitter(extracted, tokenizer=tokenizer, max_tokens=max_tokens, overlap=overlap).chunks()


class _Context(NamedTuple):
    """How much of the context line is embedded, and the tokens left for the chunk."""

    chars: int
    budget: int


@dataclass(frozen=True, slots=True)
class _Section:
    start: int
    end: int
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Piece:
    """A chunk under construction; its overlap ends at `fresh`, and `exact` tells whether `tokens` is exact."""

    start: int
    fresh: int
    end: int
    tokens: int
    section: _Section
    path: tuple[str, ...]
    exact: bool


class _Splitter:
    def __init__(self, extracted: Extracted, *, tokenizer: Tokenizer, max_tokens: int, overlap: int) -> None:
        self._extracted = extracted
        self._text = extracted.text
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._overlap = overlap
        self._small = max_tokens // 4
        self._longest = max_tokens * CHARS_PER_TOKEN
        # tokens never span a blank, so that the counts of sentences add up
        self._additive = type(tokenizer.pre_tokenizer).__name__ == "BertPreTokenizer"
        self._contexts: dict[tuple[str, ...], _Context] = {}

    def chunks(self) -> tuple[Chunk, ...]:
        """Return the chunks, each within the limit."""
        pieces = [piece for section in _sections(self._extracted) for piece in self._cut(section)]
        fitting = (part for piece in self._join(pieces) for part in self._fit(piece))
        return tuple(self._chunk(index, piece) for index, piece in enumerate(_without_repeats(fitting)))

    def _chunk(self, index: int, piece: _Piece) -> Chunk:
        pages = self._extracted.pages
        return Chunk(
            index=index,
            text=self._text[piece.start : piece.end],
            start=piece.start,
            end=piece.end,
            heading=SEPARATOR.join(piece.path) or None,
            page=max(1, bisect_right(pages, piece.start)) if pages else None,
            context_chars=self._context(piece.path).chars,
        )

    def _context(self, path: tuple[str, ...]) -> _Context:
        """Give the context line at most a third of the limit; its end (the innermost heading) has priority."""
        found = self._contexts.get(path)
        if found is None:
            line = context_line(self._extracted.title, SEPARATOR.join(path) or None)
            chars = min(CONTEXT_CHARS, len(line))
            while (used := self._count_whole(line[len(line) - chars :] + "\n")) > self._max_tokens // 3 and chars:
                chars //= 2
            found = self._contexts[path] = _Context(chars, self._max_tokens - used)
        return found

    def _count_whole(self, text: str) -> int:
        return len(self._tokenizer.encode(text))

    def _units(self, start: int, end: int, budget: int) -> list[Unit]:
        """Cut into sentences, and those longer than `budget` into ever finer parts."""
        units = self._measured(sentences(self._text, start, end))
        for cut in finer(self._text):
            if all(unit.tokens <= budget for unit in units):
                break
            parts: list[Unit] = []
            for unit in units:
                parts += [unit] if unit.tokens <= budget else self._measured(cut(unit.start, unit.end))
            units = parts
        return units

    def _measured(self, spans: Iterator[Span]) -> list[Unit]:
        units: list[Unit] = []
        everything = list(spans)
        for first in range(0, len(everything), _BATCH):
            batch = everything[first : first + _BATCH]
            # too long for any chunk: not tokenized, as its parts will be
            texts = [self._text[start : min(end, start + self._longest)] for start, end in batch]
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            for (start, end), encoding in zip(batch, encodings, strict=True):
                units.append(Unit(start, end, max(len(encoding), (end - start) // CHARS_PER_TOKEN)))
        return units

    def _cut(self, section: _Section, *, budget: int | None = None) -> Iterator[_Piece]:
        """Pack the section's sentences into chunks."""
        limit = self._context(section.path).budget if budget is None else budget
        units = self._units(section.start, section.end, limit)
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
        return path if tokens <= self._context(path).budget else None

    def _fit(self, piece: _Piece) -> Iterator[_Piece]:
        """Yield the piece, or smaller ones if the exact token count exceeds the limit."""
        excess = 0 if piece.exact else self._excess(piece)
        budget = max(1, min(piece.tokens, self._context(piece.path).budget) - excess)
        if excess <= 0 or budget >= piece.tokens:
            yield piece
            return
        for part in self._cut(_Section(piece.fresh, piece.end, piece.path), budget=budget):
            yield from self._fit(part)

    def _excess(self, piece: _Piece) -> int:
        return self._count_whole(embed_text(self._extracted.title, self._chunk(0, piece))) - self._max_tokens


def _sections(extracted: Extracted) -> Iterator[_Section]:
    """Yield the sections; a heading without text belongs to the section of the deeper heading that follows."""
    text, path = extracted.text, list[tuple[int, str]]()
    marks = [heading for heading in extracted.headings if heading.offset < len(text)]
    start = 0
    first = marks[0].offset if marks else len(text)
    if text[:first].strip():
        yield _Section(0, first, ())
        start = first
    for heading, following in pairwise([*marks, None]):
        if heading is None:
            break
        path = [(level, name) for level, name in path if level < heading.level]
        path.append((heading.level, heading.text))
        end = following.offset if following else len(text)
        bare = len(text[heading.offset : end].strip()) <= len(heading.text) + 2 * heading.level + 8
        if following and following.level > heading.level and bare:
            continue
        yield _Section(start, end, tuple(name for _, name in path))
        start = end


def _without_repeats(pieces: Iterable[_Piece]) -> list[_Piece]:
    """Leave out chunks that a later one contains entirely; this happens after splitting pieces that were too long."""
    kept: list[_Piece] = []
    for piece in pieces:
        while kept and kept[-1].start >= piece.start:
            kept.pop()
        kept.append(piece)
    return kept
