"""What is asked for: a page, and a range of its text."""

from __future__ import annotations

from dataclasses import dataclass, field

from ingestion.types import ReadOptions

WIDTH = 1000  # pixels


@dataclass(frozen=True, slots=True)
class View:
    """A page to draw, and what to mark on it.

    Attributes:
        name: of the file; decides of which kind it is where its bytes do not.
        page: its number, from 1.
        text: of the page, as it is indexed; may be empty if nothing is to be marked.
        start: offset in `text` of the first marked character.
        end: offset after the last; nothing is marked if it is not after `start`.
        options: with which the file was read.
        width: of the picture in pixels; less if its height would be too much, or a picture has fewer.

    """

    name: str
    page: int
    text: str = ""
    start: int = 0
    end: int = 0
    options: ReadOptions = field(default_factory=ReadOptions)
    width: int = WIDTH

    @property
    def is_marked(self) -> bool:
        """Whether there may be something to mark."""
        return bool(self.text[self.start : self.end].strip())
