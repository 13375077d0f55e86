"""Values passed between reading, splitting, embedding and writing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

CONTEXT_CHARS = 200  # maximum length of the title and headings embedded above a chunk


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a document.

    Attributes:
        offset: start of its section, in characters of `Extracted.text`.
        level: 1 for the outermost.
        text: the heading without markup.

    """

    offset: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Extracted:
    r"""The content of a file, as a reader extracts it.

    Attributes:
        text: the document's text, NFC, with ``\n`` line ends, no NUL, no lone surrogate.
            Offsets count its characters.
        title: the document's own, else derived from its name; never empty.
        metadata: typed values, for example from front matter or mail headers.
        headings: ordered by offset.
        pages: start offset of each page, the first always 0; empty if the format has no pages.

    """

    text: str
    title: str
    metadata: dict[str, Json] = field(default_factory=dict)
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk; ``text == document.text[start:end]`` always holds.

    Attributes:
        index: position in the document, from 0.
        heading: path of headings, ``Administration > Backup``; for several small sections their common part; or None.
        page: page on which it begins, from 1; or None.
        context_chars: how many characters of the context line, from its end, fit into the embedding model's limit.

    """

    index: int
    text: str
    start: int
    end: int
    heading: str | None = None
    page: int | None = None
    context_chars: int = CONTEXT_CHARS


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file, read and split."""

    path: Path
    title: str
    text_length: int
    metadata: dict[str, Json]
    chunks: tuple[Chunk, ...]
    content_hash: str
    size: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not indexed.

    Attributes:
        reason: one sentence for people, with no text of the document: ``an encrypted PDF: remove its password first``.
        expected: a file of an unsupported type, found in a folder rather than named.

    """

    path: Path
    reason: str
    expected: bool = False
