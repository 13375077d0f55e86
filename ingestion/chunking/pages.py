"""Pages while cutting: a chunk ends where its page ends, except that a sentence which runs over the end is kept whole.

Whether a sentence runs on is not written anywhere: a page's last line may as well be a footer, and the next page's
first line a title. A small letter at the top of the next page says that it does; before a capital letter or a digit the
page's last lines must look like wrapped prose.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence

from ingestion.chunking.sentences import Span, trimmed

LONGEST_SENTENCE = 600  # characters of one that runs over a page's end before a capital letter
FULL_LINE = 40  # characters that a wrapped line has at least
FULL_SHARE = 0.75  # of the longest line around it
_LOOKBACK = 2000
_STOPS = ".!?…。？！:"  # noqa: RUF001 (wide stops)
_CLOSING = "\"'”’»)]*_` \t\n"  # noqa: RUF001 (curly quotes)
_OPENING = "\"'“‘«([*_` \t\n"  # noqa: RUF001 (likewise)


class Pages:
    """The pages of a text.

    Args:
        text: the document's.
        starts: offset of each page, as in `Extracted.pages`; empty if it has none.

    """

    def __init__(self, text: str, starts: Sequence[int]) -> None:
        self._text = text
        self._starts = starts

    def number(self, offset: int) -> int | None:
        """Return the page of a character, from 1; None without pages."""
        return max(1, bisect_right(self._starts, offset)) if self._starts else None

    def between(self, start: int, end: int) -> Sequence[int]:
        """Return the offsets after `start` and before `end` at which a page begins."""
        return self._starts[bisect_right(self._starts, start) : bisect_left(self._starts, end)]

    def cut(self, spans: Iterable[Span]) -> Iterable[Span]:
        """Return sentences, cut at the page ends over which they do not run."""
        return self._cut(spans) if self._starts else spans

    def _cut(self, spans: Iterable[Span]) -> Iterator[Span]:
        for start, end in spans:
            begin = start
            for page in self.between(start, end):
                if not self._runs_on(begin, page, end):
                    yield from trimmed(self._text, begin, page)
                    begin = page
            yield from trimmed(self._text, begin, end) if begin > start else [(start, end)]

    def apart(self, start: int, end: int) -> Iterator[Span]:
        """Yield ``text[start:end]`` cut at every page end."""
        for page in self.between(start, end):
            yield from trimmed(self._text, start, page)
            start = page
        yield from trimmed(self._text, start, end)

    def _runs_on(self, start: int, page: int, end: int) -> bool:
        """Tell whether the sentence that begins at `start` goes on at `page`."""
        before = self._text[max(start, page - _LOOKBACK) : page].rstrip(_CLOSING)
        after = self._text[page : min(end, page + _LOOKBACK)].lstrip(_OPENING)
        if not before or not after or before[-1] in _STOPS:
            return False
        return after[0].islower() or (end - start <= LONGEST_SENTENCE and self._is_wrapped(start, page))

    def _is_wrapped(self, start: int, page: int) -> bool:
        """Tell whether a sentence fills more than a line before its page ends, and that line is full."""
        first = max(self._starts[bisect_left(self._starts, page) - 1], page - _LOOKBACK)
        lines = self._text[first:page].rstrip().split("\n")
        last = len(lines[-1])
        is_footer = "\n" not in self._text[start:page].rstrip() and self._text[max(0, start - 1) : start] in {"", "\n"}
        return not is_footer and start > first and FULL_LINE <= last >= FULL_SHARE * max(map(len, lines))
