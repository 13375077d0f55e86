"""The sections of a document: what stands between two headings, with the path of headings above it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ingestion.types import Extracted


@dataclass(frozen=True, slots=True)
class Section:
    """A section, ``text[start:end]``; `path` has the names of its headings, the outermost first."""

    start: int
    end: int
    path: tuple[str, ...]


def sections(extracted: Extracted) -> Iterator[Section]:
    """Yield the sections; a heading without text belongs to the section of the deeper heading that follows.

    A heading without a name ends what stands above it at its level, and shows in no path.
    """
    text, path = extracted.text, list[tuple[int, str]]()
    marks = [heading for heading in extracted.headings if heading.offset < len(text)]
    start = 0
    first = marks[0].offset if marks else len(text)
    if text[:first].strip():
        yield Section(0, first, ())
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
        yield Section(start, end, tuple(name for _, name in path if name))
        start = end
