"""The vector store: LlamaIndex's interface over a generation's chunk table."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeVar

import numpy as np
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode, MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict
from pydantic import ValidationError

from config.settings import RetrievalSettings
from storage import chunk_tables
from storage.conflicts import rerun_on_conflict
from storage.database import Database
from storage.documents.sources import MAX_SOURCE_BYTES, normalized
from storage.documents.writes import Documents, NewChunk, NewDocument
from storage.errors import UnsupportedFilter, WriteConflict
from storage.generation import Generation
from storage.instants import with_utc
from storage.search.filters import FilterGroup, Parameters, compile_filters
from storage.search.lexicon import Lexicon
from storage.search.search import ChunkSearch, Hit, SearchRequest
from storage.search.word_weights import WordWeight, word_weights

SHOWN_TO_MODELS = ("title", "heading")  # the rest of the metadata is for filters and citations
MODES: Mapping[VectorStoreQueryMode, Literal["hybrid", "vector", "keyword"]] = {
    VectorStoreQueryMode.DEFAULT: "vector",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
    VectorStoreQueryMode.TEXT_SEARCH: "keyword",
    VectorStoreQueryMode.SPARSE: "keyword",
}
MAX_CONFLICTS = 5
Result = TypeVar("Result")


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


def node_json(node: BaseNode) -> str:
    """Return what ``PGVectorStore`` keeps of a node in ``metadata_``, as JSON, timestamps in UTC."""
    kept = node_to_metadata_dict(node, remove_text=True, flat_metadata=False)
    return json.dumps(with_utc(kept), ensure_ascii=False)


class ChunkStore(BasePydanticVectorStore):
    """LlamaIndex's vector store over one generation: exact filters, rank fusion, async.

    The sync methods run on the database's event loop and are for other threads; on the loop use the async ones.
    """

    stores_text: bool = True
    flat_metadata: bool = False

    _database: Database = PrivateAttr()
    _generation: Generation = PrivateAttr()
    _search: ChunkSearch = PrivateAttr()

    def __init__(self, database: Database, *, generation: Generation, settings: RetrievalSettings) -> None:
        super().__init__(stores_text=True)
        self._database = database
        self._generation = generation
        self._search = ChunkSearch(database, generation=generation, settings=settings)

    @classmethod
    def class_name(cls) -> str:
        """Return LlamaIndex's name for the class."""
        return "FootnoteChunkStore"

    @property
    def client(self) -> Database:
        """The database."""
        return self._database

    @property
    def generation(self) -> Generation:
        """The generation."""
        return self._generation

    async def word_weights(self, words: Sequence[str]) -> list[WordWeight]:
        """See `storage.search.word_weights.word_weights`."""
        return await word_weights(self._database, self.generation, words=words)

    async def search(self, request: SearchRequest) -> list[Hit]:
        """Search; see `ChunkSearch.search`."""
        return await self._search.search(request)

    async def aquery(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        """Run a LlamaIndex query.

        Raises:
            ValueError: the query's mode is not supported.
            UnsupportedFilter: a filter cannot be honoured.

        """
        if query.mode not in MODES:
            msg = f"ChunkStore knows the modes {', '.join(sorted(MODES))}, not {query.mode.value}"
            raise ValueError(msg)
        hits = await self._search.search(
            SearchRequest(
                mode=MODES[query.mode],
                limit=(query.hybrid_top_k if query.mode in {"hybrid", "semantic_hybrid"} else None)
                or query.similarity_top_k,
                embedding=query.query_embedding,
                text=query.query_str,
                filters=filter_group(query.filters),
                document_ids=query.doc_ids,
                node_ids=query.node_ids,
            )
        )
        return VectorStoreQueryResult(
            nodes=[hit_node(hit) for hit in hits],
            similarities=[hit.score for hit in hits],
            ids=[hit.node_id for hit in hits],
        )

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return chunks by id, by filter, or both."""
        parameters = Parameters()
        where = self._where(parameters, node_ids, filters, column="c.metadata_")
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT c.text, c.metadata_ FROM {self._readable} WHERE {where} ORDER BY c.document_id, c.chunk_index",
                *parameters.values,
            )
        return [metadata_dict_to_node(json.loads(row["metadata_"]), text=row["text"]) for row in rows]

    async def async_add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Add nodes with their embeddings; existing nodes are replaced, missing documents are created."""
        by_document: dict[str, list[BaseNode]] = defaultdict(list)
        for node in nodes:
            by_document[node.ref_doc_id or node.node_id].append(node)
        for document_id, group in by_document.items():
            await self._added(document_id, group)
        await Lexicon(self._database, generation=self._generation).keep_up()
        return [node.node_id for node in nodes]

    async def adelete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete a document with its chunks."""
        await Documents(self._database, generation=self._generation).delete(ref_doc_id)
        await Lexicon(self._database, generation=self._generation).keep_up()

    @rerun_on_conflict
    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any
    ) -> None:
        """Delete chunks by id, by filter, or both; without either, delete nothing."""
        if node_ids is None and filters is None:
            return
        parameters = Parameters()
        where = self._where(parameters, node_ids, filters)
        async with self._database.transaction() as connection:
            # lock documents before their chunks, in the same order as other writers
            await connection.execute(
                f"""SELECT FROM footnote.documents d WHERE d.generation_id = {int(self._generation.id)} AND d.id IN
                    (SELECT document_id FROM {self._table} WHERE {where}) ORDER BY d.id FOR UPDATE""",
                *parameters.values,
            )
            # update their documents too, so that cached answers become invalid
            await connection.execute(
                f"""WITH gone AS (
                        DELETE FROM {self._table} WHERE {where} AND document_id IN (
                            SELECT d.id FROM footnote.documents d WHERE d.generation_id = {int(self._generation.id)})
                        RETURNING document_id)
                    UPDATE footnote.documents d
                    SET chunks = d.chunks - g.chunks, pipeline_fingerprint = d.pipeline_fingerprint
                    FROM (SELECT document_id, count(*) AS chunks FROM gone GROUP BY document_id) g
                    WHERE d.generation_id = {int(self._generation.id)} AND d.id = g.document_id""",
                *parameters.values,
            )
        await Lexicon(self._database, generation=self._generation).keep_up()

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """See `async_add`."""
        return self._run(self.async_add(nodes))

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """See `adelete`."""
        self._run(self.adelete(ref_doc_id))

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any) -> None:
        """See `adelete_nodes`."""
        self._run(self.adelete_nodes(node_ids, filters))

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """See `aget_nodes`."""
        return self._run(self.aget_nodes(node_ids, filters))

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        """See `aquery`."""
        return self._run(self.aquery(query))

    @property
    def _table(self) -> str:
        return chunk_tables.qualified(self._generation.id)

    @property
    def _readable(self) -> str:
        return chunk_tables.readable(self._generation.id)

    def _where(
        self,
        parameters: Parameters,
        node_ids: list[str] | None,
        filters: MetadataFilters | None,
        *,
        column: str = "metadata_",
    ) -> str:
        parts = ["true"]
        if node_ids is not None:
            parts.append(f"node_id = ANY({parameters.bind(node_ids, 'text[]')})")
        if (group := filter_group(filters)) is not None:
            parts.append(compile_filters(group, parameters, column=column))
        return " AND ".join(parts)

    async def _added(self, document_id: str, nodes: list[BaseNode]) -> None:
        for _ in range(MAX_CONFLICTS - 1):
            try:
                return await self._add_document(document_id, nodes)
            except WriteConflict:  # written by another writer meanwhile, or copied from another generation
                continue
        return await self._add_document(document_id, nodes)

    async def _add_document(self, document_id: str, nodes: list[BaseNode]) -> None:
        documents = Documents(self._database, generation=self._generation)
        revision = await documents.next_revision()
        stored = (await documents.by_ids([document_id])).get(document_id)
        kept = [
            row for row in await self._stored_chunks(document_id) if row.node_id not in {node.node_id for node in nodes}
        ]
        chunks = [*kept, *(_new_chunk(node, document_id=document_id) for node in nodes)]
        chunks = [_renumbered(chunk, index) for index, chunk in enumerate(chunks)]
        first = nodes[0].metadata
        source = stored.source if stored else await self._free_source(documents, document_id, first)
        digest = hashlib.sha256("\0".join(chunk.node_id + chunk.text for chunk in chunks).encode())
        document = NewDocument(
            id=document_id,
            source=source,
            location=stored.location if stored else None,
            title=str(first.get("title") or first.get("file_name") or document_id),
            metadata={},
            content_hash=digest.hexdigest(),
            pipeline_fingerprint="added through LlamaIndex",
            size=sum(len(chunk.text.encode()) for chunk in chunks),
            revision=revision,
        )
        await documents.write(document, chunks, replaces=stored)

    async def _free_source(self, documents: Documents, document_id: str, metadata: Mapping[str, Any]) -> str:
        """Return what names a new document; LlamaIndex gives all pages of a PDF one name."""
        source = normalized(str(metadata.get("source") or metadata.get("file_path") or document_id))
        if (await documents.states([source])).get(source) is None:
            return source
        longer = f"{document_id}/{source}"
        return longer if len(longer.encode()) <= MAX_SOURCE_BYTES else document_id

    async def _stored_chunks(self, document_id: str) -> list[NewChunk]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT c.node_id, c.chunk_index, c.page, c.start_char, c.end_char, c.text, c.metadata_, c.embedding,
                        c.embedded_hash
                    FROM {self._readable} WHERE c.document_id = $1 ORDER BY c.chunk_index""",
                document_id,
            )
        return [
            NewChunk(
                node_id=row["node_id"],
                index=row["chunk_index"],
                page=row["page"],
                start=row["start_char"],
                end=row["end_char"],
                text=row["text"],
                metadata_json=row["metadata_"],
                embedding=row["embedding"].to_numpy(),
                embedded_hash=row["embedded_hash"],
            )
            for row in rows
        ]

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is self._database.loop:
            coroutine.close()
            msg = "a sync method of ChunkStore was called on the event loop; await its async twin"
            raise RuntimeError(msg)
        return asyncio.run_coroutine_threadsafe(coroutine, self._database.loop).result()


def hit_node(hit: Hit) -> TextNode:
    """Return a hit as a LlamaIndex node; its offsets are the table's, whatever its metadata say."""
    place: dict[str, Any] = {"chunk_index": hit.chunk_index} | ({} if hit.page is None else {"page": hit.page})
    return make_node(
        hit.node_id,
        document_id=hit.document_id,
        text=hit.text,
        metadata=hit.metadata | place,
        start=hit.start,
        end=hit.end,
    )


def filter_group(filters: MetadataFilters | None) -> FilterGroup | None:
    """Convert LlamaIndex's filters.

    Raises:
        UnsupportedFilter: they cannot be converted.

    """
    if filters is None:
        return None
    try:
        return FilterGroup.model_validate(_plain(filters))
    except (ValidationError, RecursionError):
        msg = "the metadata filters cannot be read"
        raise UnsupportedFilter(msg) from None


def _plain(filters: MetadataFilters) -> dict[str, Any]:
    return {
        "condition": filters.condition.value if filters.condition else "and",
        "filters": [
            _plain(inner)
            if isinstance(inner, MetadataFilters)
            else {"key": inner.key, "value": inner.value, "operator": inner.operator.value}
            for inner in filters.filters
        ],
    }


def _new_chunk(node: BaseNode, *, document_id: str) -> NewChunk:
    text = node.get_content(metadata_mode=MetadataMode.NONE)
    start = getattr(node, "start_char_idx", None) or 0
    page = node.metadata.get("page")
    if node.ref_doc_id is None:
        node = node.model_copy(
            update={"relationships": {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document_id)}}
        )
    return NewChunk(
        node_id=node.node_id,
        index=0,
        page=page if isinstance(page, int) else None,
        start=start,
        end=getattr(node, "end_char_idx", None) or start + len(text),
        text=text,
        metadata_json=node_json(node),
        embedding=np.asarray(node.get_embedding(), dtype=np.float32),
    )


def _renumbered(chunk: NewChunk, index: int) -> NewChunk:
    return replace(chunk, index=index)
