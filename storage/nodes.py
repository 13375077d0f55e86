"""LlamaIndex's nodes and our chunks: one made of the other, and what of a node cannot be stored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_index.core.schema import BaseNode, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

from storage.documents.versions import NewChunk
from storage.errors import InvalidNode, InvalidVector
from storage.instants import with_utc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from storage.generation import EmbeddingIdentity
    from storage.search.search import Hit

SHOWN_TO_MODELS = ("title", "heading")  # the rest of the metadata is for filters and citations
MAX_ID_BYTES = 1000
MAX_INTEGER = 2**31 - 1  # PostgreSQL's
MAX_TEXT_BYTES = 300_000
"""Of a node's text, title and heading together: PostgreSQL indexes no more of one row."""

UNIT = 1e-3  # how far from 1 the length of a vector of a normalized model may be and stay as it is


def make_node(
    node_id: str, *, document_id: str, text: str, metadata: dict[str, Any], start: int | None, end: int | None
) -> TextNode:
    """Return a chunk as a LlamaIndex node; models are given its text, title and heading."""
    hidden = sorted(key for key in metadata if key not in SHOWN_TO_MODELS)
    return TextNode(
        id_=node_id,
        text=text,
        metadata=metadata,
        start_char_idx=start,
        end_char_idx=end,
        excluded_embed_metadata_keys=hidden,
        excluded_llm_metadata_keys=hidden,
        relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document_id)},
    )


def hit_node(hit: Hit) -> TextNode:
    """Return a hit as a LlamaIndex node; its place is the table's, whatever its metadata say."""
    return make_node(
        hit.node_id,
        document_id=hit.document_id,
        text=hit.text,
        metadata=hit.metadata | _place(hit),
        start=hit.start,
        end=hit.end,
    )


def placed(node: BaseNode, hit: Hit) -> BaseNode:
    """Return the node that a hit was made of, with the hit's place in its metadata, hidden from models."""
    place = _place(hit)
    hidden = {
        name: sorted({*getattr(node, name), *(key for key in place if key not in node.metadata)})
        for name in ("excluded_embed_metadata_keys", "excluded_llm_metadata_keys")
    }
    return node.model_copy(update={"metadata": node.metadata | place, **hidden})


def node_json(node: BaseNode) -> str:
    """Return what ``PGVectorStore`` keeps of a node in ``metadata_``, as JSON, timestamps in UTC."""
    kept = node_to_metadata_dict(node, remove_text=True, flat_metadata=False)
    return json.dumps(with_utc(kept), ensure_ascii=False)


def node_of(metadata_json: str, text: str) -> BaseNode:
    """Return the node that a chunk was made of, with its class and its relationships."""
    return metadata_dict_to_node(json.loads(metadata_json), text=text)


def document_of(node: BaseNode) -> str:
    """Return the id of a node's document: its own, if it has no source."""
    return node.ref_doc_id or node.node_id


def new_chunk(node: BaseNode, *, model: EmbeddingIdentity) -> NewChunk:
    """Return the chunk that is stored of a node; its place in the document is 0.

    Raises:
        InvalidNode: its ids, text or metadata cannot be stored.
        InvalidVector: its vector is none of the model's.

    """
    document_id = document_of(node)
    _check_id(node.node_id)
    _check_id(document_id)
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    _check_length(node, text)
    if node.ref_doc_id is None:
        own = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document_id)}
        node = node.model_copy(update={"relationships": {**node.relationships, **own}})
    start, end = _offsets(node, text)
    return NewChunk(
        node_id=node.node_id,
        index=0,
        page=integer(node.metadata.get("page")),
        start=start,
        end=end,
        text=text,
        metadata_json=_checked_json(node, text),
        embedding=unit_vector(node.embedding, model=model, of=f"node {_shown(node.node_id)}"),
    )


def with_source(chunk: NewChunk, source: str) -> NewChunk:
    """Return a chunk that is found and cited by its document's source, unless its node names one.

    It stands beside the node, which is read again as it was.
    """
    metadata = json.loads(chunk.metadata_json)
    if isinstance(metadata.get("source"), str | int | float) and metadata["source"] != "":
        return chunk
    return replace(chunk, metadata_json=json.dumps({**metadata, "source": source}, ensure_ascii=False))


def unit_vector(vector: Sequence[float] | None, *, model: EmbeddingIdentity, of: str) -> NDArray[np.float32]:
    """Return a vector as it is stored: shape (dimension,), float32, of length 1 if the model's are.

    Raises:
        InvalidVector: there is none, or it is not one that the model can have made.

    """
    made = np.asarray([] if vector is None else vector, dtype=np.float64)
    if made.ndim != 1 or not made.size:
        msg = f"{of} has no vector; embed it with the collection's model {model.model!r} first"
        raise InvalidVector(msg)
    if made.size != model.dimension:
        msg = f"the vector of {of} has {made.size} dimensions, those of model {model.model!r} have {model.dimension}"
        raise InvalidVector(msg)
    length = float(np.linalg.norm(made))
    if not np.isfinite(length) or not length:
        msg = f"the vector of {of} is zero or not finite, and is like no other"
        raise InvalidVector(msg)
    if model.normalized and abs(length - 1) > UNIT:
        made = made / length
    shortened = made.astype(np.float32)
    if not np.isfinite(shortened).all() or not shortened.any():
        msg = f"the vector of {of} does not fit into 32-bit floats"
        raise InvalidVector(msg)
    return shortened


def integer(value: object) -> int | None:
    """Return a whole number of metadata, which any program may have written; None for what is none."""
    if isinstance(value, str):
        value = value.strip()
        value = int(value) if value.isascii() and value.isdigit() and len(value) < len(str(MAX_INTEGER)) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    is_one = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INTEGER
    return value if is_one and isinstance(value, int) else None


def _place(hit: Hit) -> dict[str, Any]:
    return {"chunk_index": hit.chunk_index} | ({} if hit.page is None else {"page": hit.page})


def _offsets(node: BaseNode, text: str) -> tuple[int, int]:
    start = integer(getattr(node, "start_char_idx", None)) or 0
    end = integer(getattr(node, "end_char_idx", None))
    if end is None or end < start:
        end = start + len(text)
    return (start, end) if end <= MAX_INTEGER else (0, len(text))


def _check_id(name: str) -> None:
    if not is_text(name) or len(name.encode()) > MAX_ID_BYTES:
        msg = f"the id {_shown(name)} is longer than {MAX_ID_BYTES:,} bytes or not Unicode"
        raise InvalidNode(msg)


def _check_length(node: BaseNode, text: str) -> None:
    searched = (text, *(str(node.metadata.get(key) or "") for key in SHOWN_TO_MODELS))
    if sum(len(each.encode(errors="replace")) for each in searched) > MAX_TEXT_BYTES:
        msg = f"node {_shown(node.node_id)} has more than {MAX_TEXT_BYTES:,} bytes of text; split it first"
        raise InvalidNode(msg)


def _checked_json(node: BaseNode, text: str) -> str:
    try:
        made = node_json(node)
        are_texts = all(map(is_text, (text, made, *_texts(json.loads(made)))))
    except (ValueError, TypeError, RecursionError) as exc:
        msg = f"the metadata of node {_shown(node.node_id)} cannot be stored as JSON ({type(exc).__name__})"
        raise InvalidNode(msg) from exc
    if not are_texts:
        msg = f"node {_shown(node.node_id)} has a NUL character or half a surrogate pair in it"
        raise InvalidNode(msg)
    return made


def _texts(value: object) -> Iterator[str]:
    """Yield the texts in JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _texts(inner)


def is_text(value: str) -> bool:
    """Tell whether PostgreSQL can hold a text: without NUL characters and halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


def _shown(name: str) -> str:
    return repr(name[:80]).encode("ascii", "backslashreplace").decode()
