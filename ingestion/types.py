"""Values passed between reading, splitting, embedding and writing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

CONTEXT_CHARS = 200  # maximum length of the title and headings embedded above a chunk


WarningKind = Literal[
    "attachment-not-read",
    "boilerplate-left-out",
    "data-left-out",
    "encoding-guessed",
    "formulas-not-calculated",
    "front-matter-unreadable",
    "hidden-left-out",
    "pages-without-text",
    "part-unreadable",
    "picture-not-read",
    "read-by-ocr",
    "row-skipped",
    "truncated",
]
"""What a reader says of a file that it has read: what is not in its text, was guessed, or may be wrong."""
INTENDED: frozenset[WarningKind] = frozenset(
    {"boilerplate-left-out", "data-left-out", "hidden-left-out", "read-by-ocr"}
)
"""What readers do on purpose; everything else is a failure to a run that is strict."""


@dataclass(frozen=True, slots=True)
class ReadWarning:
    """A warning about a document that was read.

    Attributes:
        detail: one sentence for people, with numbers and names of parts, and no text of the document.
        page: from 1; None if it concerns the whole document or many pages.

    """

    kind: WarningKind
    detail: str
    page: int | None = None

    def as_json(self) -> dict[str, Json]:
        """Return it for machines."""
        return {"kind": self.kind, "detail": self.detail, "page": self.page}

    def as_text(self) -> str:
        """Return it for people."""
        return f"{self.kind}: {self.detail}" + (f" (page {self.page})" if self.page else "")


AttachmentMode = Literal["no", "sections", "documents"]


@dataclass(frozen=True, slots=True)
class PlugInCode:
    """A class of a plug-in, as worker processes make it.

    Attributes:
        setting: that names it.
        path: ``package.module.Class``.
        arguments: JSON; ``${NAME}`` in its texts is an environment variable of the worker's.
        version: of the package that has it; with another one, documents are read anew.

    """

    setting: str
    path: str
    arguments: str
    version: str


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What readers may be told; a document's text follows from its bytes, its name and these.

    Attributes:
        language: text search configuration of the collection, ``german`` say; decides between encodings that fit alike.
        ocr: read pages and images without text by OCR, where its library is installed.
        ocr_pages: of one document, at most; more are said in the warnings.
        ocr_seconds: for one document; no further page is begun after them. Keep it below the limit of reading a file.
        pictures: read the pictures in documents by OCR, too.
        hidden: read hidden sheets, rows, columns, slides and text; else they are left out, and said.
        attachments: of e-mails: ``no``: only attached text, as sections of the message; ``sections``: all, each by its
            own reader; ``documents``: `Extracted.attachments` has them.
        readers: plug-ins by the suffix of the files that they read.
        transformations: plug-ins that chunks pass, in order.

    """

    language: str = "simple"
    ocr: bool = True
    ocr_pages: int = 200
    ocr_seconds: float = 90
    pictures: bool = False
    hidden: bool = False
    attachments: AttachmentMode = "no"
    readers: tuple[tuple[str, PlugInCode], ...] = ()
    transformations: tuple[PlugInCode, ...] = ()


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
class Attachment:
    """A file attached to a message, to become a document of its own.

    Attributes:
        name: of the file, without folders; not unique.
        media_type: as the message declares it.
        message: of the message that brings it: ``mail_subject``, ``mail_from``, ``mail_to``, ``mail_date``.
        utf8: the same text in UTF-8, if the message declares another encoding, which the file alone does not say.

    """

    name: str
    media_type: str
    data: bytes
    message: dict[str, Json]
    utf8: bytes | None = None


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
        labels: what each page is called where that is not its number (``iv``, ``A-1``); empty, or as long as `pages`.
        rows: of tables: (start offset, row as the program that made the file numbers it, from 1), by offset.
        repeated: (start, end) of what a long table repeats, of its header, in the text; the file has it once.
        warnings: what is not in the text, or not as it was.
        attachments: documents of their own, if the options say so.

    """

    text: str
    title: str
    metadata: dict[str, Json] = field(default_factory=dict)
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    rows: tuple[tuple[int, int], ...] = ()
    repeated: tuple[tuple[int, int], ...] = ()
    warnings: tuple[ReadWarning, ...] = ()
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk; ``text == document.text[start:end]`` always holds.

    Attributes:
        index: position in the document, from 0.
        heading: path of headings, ``Administration > Backup``; for several small sections their common part; or None.
        page: page on which it begins, from 1; or None. Each of its sentences begins there.
        page_end: page on which it ends.
        row: first row of a table that it has, as `Extracted.rows` numbers them; or None.
        row_end: last such row.
        metadata: of this chunk alone, which transformations of plug-ins wrote.
        context_chars: how many characters of the context line, from its end, fit into the embedding model's limit.

    """

    index: int
    text: str
    start: int
    end: int
    heading: str | None = None
    page: int | None = None
    page_end: int | None = None
    row: int | None = None
    row_end: int | None = None
    context_chars: int = CONTEXT_CHARS
    metadata: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file, read and split; attributes as in `Extracted`."""

    path: Path
    title: str
    text_length: int
    metadata: dict[str, Json]
    chunks: tuple[Chunk, ...]
    content_hash: str
    size: int
    pages: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    repeated: tuple[tuple[int, int], ...] = ()
    warnings: tuple[ReadWarning, ...] = ()
    attachments: tuple[Attachment, ...] = ()

    @property
    def labelled_pages(self) -> list[tuple[int, str]]:
        """Start offset and label of each page; a page without a label has its number."""
        labels = self.labels or ("",) * len(self.pages)
        return [
            (start, label or str(number))
            for number, (start, label) in enumerate(zip(self.pages, labels, strict=True), 1)
        ]


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
