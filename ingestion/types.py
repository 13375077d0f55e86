"""What passes between reading, splitting, embedding and writing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

CONTEXT_CHARS = 200  # longest line of title and headings that is put above a passage to embed it


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a document.

    Attributes:
        offset: where its section begins, in characters of `Extracted.text`.
        level: 1 for the outermost.
        text: the heading without markup.

    """

    offset: int
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Extracted:
    r"""What a reader makes of a file.

    Attributes:
        text: the document's text, NFC, with ``\n`` line ends, no NUL, no lone surrogate.
            Offsets count its characters.
        title: from the document itself, else from its name; never empty.
        metadata: typed values, of front matter or mail headers say.
        headings: in the order of their offsets.
        pages: offset at which each page begins, the first always 0; empty where the kind of document has none.

    """

    text: str
    title: str
    metadata: dict[str, Json] = field(default_factory=dict)
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage: ``text == document.text[start:end]``, always.

    Attributes:
        index: place in the document, from 0.
        heading: path of headings above it, ``Administration > Backup``; of joined small sections what they share;
            None where there is none.
        page: page on which it begins, from 1; None where the document has none.
        context_chars: characters, from its end, of the line above the passage that the embedding model has room for.

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
        expected: nobody asked for it: a kind without a reader, met in a folder.

    """

    path: Path
    reason: str
    expected: bool = False
