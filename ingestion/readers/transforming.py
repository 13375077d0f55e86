"""Node parsers and transformations of plug-ins, in the process that reads files.

Where one of them is a node parser, they begin with the whole document, else with Footnote's chunks. Whatever comes out
is fitted to the embedding model, and stays a quotation: a text that the document has keeps its place in it; where they
change texts, the document's text is what they made.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ingestion.chunking.context import SEPARATOR
from ingestion.chunking.pages import Pages
from ingestion.chunking.sections import sections
from ingestion.chunking.splitter import split
from ingestion.errors import Unreadable
from ingestion.plug_ins import listed, transformation_of
from ingestion.readers.cleaning import clean
from ingestion.types import Chunk, Extracted, Heading, Json, PlugInCode

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode
    from tokenizers import Tokenizer

GAP = "\n\n"
GIVEN = ("title", "heading", "page", "page_end", "chunk_index")
"""Keys that nodes get from Footnote; what is written there is not kept."""
MOST_METADATA = 65_536  # characters of a chunk's, as JSON


@dataclass(frozen=True, slots=True)
class _Piece:
    """A text that came out, with its place; `start` is None until it has one."""

    text: str
    start: int | None
    heading: str | None
    page: int | None
    page_end: int | None
    metadata: dict[str, Json]


def transformed(
    extracted: Extracted,
    chunks: Sequence[Chunk],
    codes: Sequence[PlugInCode],
    *,
    tokenizer: Tokenizer,
    max_tokens: int,
) -> tuple[Extracted, tuple[Chunk, ...]]:
    """Return a document and its chunks as the transformations leave them.

    Raises:
        Unreadable: one fails, or returns something else than nodes; the message names it.

    """
    nodes = _first_nodes(extracted, chunks, codes)
    for code in codes:
        nodes = _called(code, nodes)
    pieces = [piece for node in nodes if (piece := _piece(node, extracted, codes)) is not None]
    if not pieces:
        msg = "the transformations left nothing of it"
        raise Unreadable(msg)
    if any(piece.start is None for piece in pieces):
        extracted, pieces = _with_new_text(extracted, pieces)
    pieces.sort(key=lambda piece: piece.start or 0)
    parts = [part for piece in pieces for part in _fitting(piece, extracted, tokenizer, max_tokens)]
    return extracted, tuple(replace(part, index=index) for index, part in enumerate(parts))


def _first_nodes(extracted: Extracted, chunks: Sequence[Chunk], codes: Sequence[PlugInCode]) -> list[BaseNode]:
    from llama_index.core.node_parser import NodeParser
    from llama_index.core.schema import Document, TextNode

    if any(isinstance(transformation_of(code), NodeParser) for code in codes):
        return [Document(text=extracted.text, metadata={"title": extracted.title})]
    return [
        TextNode(
            text=chunk.text,
            start_char_idx=chunk.start,
            end_char_idx=chunk.end,
            metadata={
                "title": extracted.title,
                "heading": chunk.heading,
                "page": chunk.page,
                "page_end": chunk.page_end,
                "chunk_index": chunk.index,
            },
        )
        for chunk in chunks
    ]


def _called(code: PlugInCode, nodes: Sequence[BaseNode]) -> list[BaseNode]:
    from llama_index.core.schema import BaseNode

    return listed(lambda: transformation_of(code)(list(nodes)), BaseNode, code, named="a list of nodes")


def _piece(node: Any, extracted: Extracted, codes: Sequence[PlugInCode]) -> _Piece | None:  # noqa: ANN401 (a node)
    """Return a node's text with its place in the document; None if it has none."""
    text = clean(node.get_content())
    if not text.strip():
        return None
    start = _place(node, text, extracted)
    metadata = _metadata(node, codes)
    if start is not None:
        pages = Pages(extracted.text, extracted.pages)
        heading = SEPARATOR.join(_path(start, extracted)) or None
        return _Piece(text, start, heading, pages.number(start), pages.number(start + len(text) - 1), metadata)
    heading, page, page_end = (node.metadata.get(key) for key in ("heading", "page", "page_end"))
    return _Piece(
        text,
        None,
        heading if isinstance(heading, str) else None,
        page if isinstance(page, int) else None,
        page_end if isinstance(page_end, int) else None,
        metadata,
    )


def _place(node: Any, text: str, extracted: Extracted) -> int | None:  # noqa: ANN401 (a node)
    """Return where a node's text stands in the document: where it says so, or the only place where it does."""
    said = getattr(node, "start_char_idx", None)
    if isinstance(said, int) and said >= 0 and extracted.text.startswith(text, said):
        return said
    found = extracted.text.find(text)
    return found if found >= 0 and extracted.text.find(text, found + 1) < 0 else None


def _path(start: int, extracted: Extracted) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for section in sections(extracted):
        if section.start > start:
            break
        found = section.path
    return found


def _metadata(node: Any, codes: Sequence[PlugInCode]) -> dict[str, Json]:  # noqa: ANN401 (a node)
    from ingestion.identity import without_reserved_keys

    own = without_reserved_keys({str(key): value for key, value in node.metadata.items() if key not in GIVEN})
    try:
        written = json.dumps(own, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        msg = f"the metadata that {codes[-1].path}, or one before it, wrote are not JSON"
        raise Unreadable(msg) from exc
    if len(written) > MOST_METADATA:
        msg = f"the metadata that {codes[-1].path}, or one before it, wrote are longer than {MOST_METADATA} characters"
        raise Unreadable(msg)
    found: dict[str, Json] = json.loads(clean(written))
    return found


def _with_new_text(extracted: Extracted, pieces: Sequence[_Piece]) -> tuple[Extracted, list[_Piece]]:
    """Return the document with the texts that came out as its text; its pages are those of its chunks alone."""
    placed, start = [], 0
    for piece in pieces:
        placed.append(replace(piece, start=start))
        start += len(piece.text) + len(GAP)
    text = GAP.join(piece.text for piece in pieces)
    return replace(extracted, text=text, headings=(), pages=(), labels=(), rows=(), repeated=()), placed


def _fitting(piece: _Piece, extracted: Extracted, tokenizer: Tokenizer, max_tokens: int) -> Iterator[Chunk]:
    """Yield a text as one chunk, or as several where it is longer than the model reads."""
    path = piece.heading.split(SEPARATOR) if piece.heading else []
    headings = tuple(Heading(0, level, text) for level, text in enumerate(path, 1))
    part = Extracted(piece.text, extracted.title, headings=headings)
    start = piece.start or 0
    for chunk in split(part, tokenizer=tokenizer, max_tokens=max_tokens, overlap=0):
        yield replace(
            chunk,
            start=start + chunk.start,
            end=start + chunk.end,
            page=piece.page,
            page_end=piece.page_end,
            metadata=piece.metadata,
        )
