"""Citations: an engine's passages as clients see them, whoever wrote their metadata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llama_index.core.schema import NodeWithScore

from server.answers import Citation
from server.engines.node_fields import chunk_index_of, plain, well_formed, words_of
from server.engines.record import Record
from storage.nodes import integer

NAMES = ("source", "file_path", "file_name", "url")  # where LlamaIndex's readers say what a node is of


def citations_of(nodes: Sequence[NodeWithScore], record: Record) -> tuple[Citation, ...]:
    """Return the citations of passages, numbered from 1 in their order."""
    return tuple(_citation(number, node, record) for number, node in enumerate(nodes, start=1))


def _citation(number: int, found: NodeWithScore, record: Record) -> Citation:
    """Return a passage's citation; metadata that are not what their name says stay in `metadata`."""
    node, metadata = found.node, dict(found.node.metadata)
    start, end = getattr(node, "start_char_idx", None) or 0, getattr(node, "end_char_idx", None)
    text = well_formed(node.get_content())
    chunk_index = chunk_index_of(node)
    document_id = node.ref_doc_id or ""
    named = next(filter(None, (words_of(metadata.get(key)) for key in NAMES)), None)
    source = named or document_id or node.node_id
    title = words_of(metadata.get("title")) or words_of(metadata.get("file_name")) or source
    heading, page, page_end = words_of(metadata.get("heading")), *_pages(metadata)
    score = float(found.score or 0.0)
    return Citation(
        id=number,
        node_id=node.node_id,
        document_id=document_id,
        source=source,
        title=title,
        heading=heading,
        page=page,
        page_end=page if page_end is None else page_end,
        chunk_index=chunk_index,
        text=text,
        score=score if math.isfinite(score) else 0.0,
        scores=record.scores.get(node.node_id, {}),
        start=start,
        end=start + len(text) if end is None else end,
        metadata=_rest(metadata),
        chunks=record.chunks.get(node.node_id, (chunk_index,)),
    )


def _pages(metadata: dict[str, Any]) -> tuple[int | None, int | None]:
    return integer(metadata.get("page")), integer(metadata.get("page_end"))


def _rest(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata without what has fields of its own."""
    for key in ("source", "title", "heading"):
        if key in metadata and (metadata[key] in (None, "") or words_of(metadata[key])):
            del metadata[key]
    for key in ("page", "page_end", "chunk_index"):
        if key in metadata and (metadata[key] is None or integer(metadata[key]) is not None):
            del metadata[key]
    return {well_formed(str(key)): plain(value) for key, value in metadata.items()}
