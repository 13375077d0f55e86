"""Joining neighbouring excerpts of a document; the text stays exactly the document's."""

from __future__ import annotations

from dataclasses import dataclass

MAX_BLANKS = 200  # maximum white space between consecutive chunks, in characters


@dataclass(frozen=True, slots=True)
class Excerpt:
    """An excerpt of a document.

    Attributes:
        text: from `start` to `end`.
        chunks: indexes of the chunks that it is made of, ascending.
        page: on which it begins; None if its document has no pages.
        page_end: on which it ends.

    """

    document_id: str
    start: int
    end: int
    text: str
    chunks: tuple[int, ...]
    page: int | None = None
    page_end: int | None = None

    @property
    def is_placed(self) -> bool:
        """Whether it has valid offsets; nodes that other programs wrote may have none."""
        return bool(self.document_id) and len(self.text) == self.end - self.start

    def overlaps(self, other: Excerpt) -> bool:
        """Whether the two overlap in one document."""
        return self.document_id == other.document_id and self.start < other.end and other.start < self.end

    def holds(self, other: Excerpt) -> bool:
        """Whether the other one is part of this one."""
        begin = other.start - self.start
        return self.overlaps(other) and begin >= 0 and self.text.startswith(other.text, begin)


def joined(one: Excerpt, other: Excerpt, *, longest: int) -> Excerpt | None:
    """Return two neighbours as one excerpt; None if they are not neighbours, or longer than `longest` together.

    Those that begin on different pages stay apart, so that whatever is cited of a passage stands on its page.

    Neighbours overlap, touch, or are consecutive chunks. The overlap is included once; white space between them is as
    in `storage.documents.text`.
    """
    first, second = sorted((one, other), key=lambda excerpt: (excerpt.start, -excerpt.end))
    end = max(first.end, second.end)
    if end - first.start > longest or not _are_neighbours(first, second):
        return None
    if second.start <= first.end:
        text = first.text + second.text[first.end - second.start :]
    else:
        text = first.text + _blanks(second.start - first.end) + second.text
    chunks = tuple(sorted({*first.chunks, *second.chunks}))
    last = max(first, second, key=lambda excerpt: excerpt.end)
    return Excerpt(first.document_id, first.start, end, text, chunks, first.page, last.page_end)


def _are_neighbours(first: Excerpt, second: Excerpt) -> bool:
    if first.document_id != second.document_id or not (first.is_placed and second.is_placed):
        return False
    if first.page != second.page:
        return False
    gap = second.start - first.end
    if gap > 0:
        return gap <= MAX_BLANKS and first.chunks[-1] + 1 == second.chunks[0]
    shared = first.text[second.start - first.start :][: len(second.text)]
    return second.text.startswith(shared)  # else the offsets are wrong


def _blanks(count: int) -> str:
    return " " * (count - 2) + "\n" * min(count, 2)
