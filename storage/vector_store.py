"""The vector store: LlamaIndex's interface over a generation's chunk table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from pydantic import ValidationError

from config.settings import RetrievalSettings
from storage import chunk_tables, own_loop
from storage.conflicts import rerun_on_conflict
from storage.database import Database
from storage.documents.versions import CHANGED_BY_NODES
from storage.documents.writes import Documents
from storage.errors import UnsupportedFilter
from storage.generation import Generation
from storage.node_writes import NodeWrites
from storage.nodes import hit_node, is_text, make_node, node_json, node_of, placed, unit_vector
from storage.search.filters import FilterGroup, Parameters, compile_filters
from storage.search.lexicon import Lexicon
from storage.search.search import ChunkSearch, Hit, SearchRequest
from storage.search.word_weights import WordWeight, WordWeights

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ChunkStore", "filter_group", "hit_node", "make_node", "node_json"]
MODES: Mapping[VectorStoreQueryMode, Literal["hybrid", "vector", "keyword"]] = {
    VectorStoreQueryMode.DEFAULT: "vector",
    VectorStoreQueryMode.HYBRID: "hybrid",
    VectorStoreQueryMode.SEMANTIC_HYBRID: "hybrid",
    VectorStoreQueryMode.TEXT_SEARCH: "keyword",
    VectorStoreQueryMode.SPARSE: "keyword",
}


class ChunkStore(BasePydanticVectorStore):
    """LlamaIndex's vector store over one generation: exact filters, rank fusion, async.

    Every method runs on the database's event loop, whoever calls it: the async ones may be awaited on any loop, the
    sync ones are for other threads than the database's.
    """

    stores_text: bool = True
    flat_metadata: bool = False

    _database: Database = PrivateAttr()
    _generation: Generation = PrivateAttr()
    _search: ChunkSearch = PrivateAttr()
    _weights: WordWeights = PrivateAttr()

    def __init__(
        self,
        database: Database,
        *,
        generation: Generation,
        settings: RetrievalSettings,
        weights: WordWeights | None = None,
    ) -> None:
        """Open a generation; stores of one database may share `weights`, which remember words."""
        super().__init__(stores_text=True)
        self._database = database
        self._generation = generation
        self._search = ChunkSearch(database, generation=generation, settings=settings)
        self._weights = weights or WordWeights(database)

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
        """See `storage.search.word_weights.WordWeights.of`."""
        return await self._weights.of(self.generation, words=words)

    async def search(self, request: SearchRequest) -> list[Hit]:
        """Search; see `ChunkSearch.search`."""
        return await self._search.search(request)

    async def aquery(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        """Run a LlamaIndex query; the nodes are those that were added, with their relationships.

        Their metadata say in ``chunk_index`` and ``page`` where they are in their document.

        Empty `doc_ids` and `node_ids` restrict nothing: LlamaIndex's retrievers pass them so. `alpha` has no effect,
        since the weights of the fusion are settings.

        Raises:
            ValueError: the query's mode is not supported.
            InvalidVector: the query's vector is none of the collection's model.
            UnsupportedFilter: a filter cannot be honoured.

        """
        if query.mode not in MODES:
            msg = f"ChunkStore knows the modes {', '.join(sorted(MODES))}, not {query.mode.value}"
            raise ValueError(msg)
        return await own_loop.awaited(self._database.loop, self._queried(query))

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Return chunks by id, by filter, or both, as the nodes that were added."""
        return await own_loop.awaited(self._database.loop, self._nodes(node_ids, filters))

    async def readable_nodes(self, node_ids: Sequence[str], *, filters: FilterGroup | None) -> list[BaseNode]:
        """Return those of the nodes that the caller may read and the filters let through, as they are stored."""
        parameters = Parameters()
        where = f"node_id = ANY({parameters.bind(list(filter(is_text, node_ids)), 'text[]')})"
        if filters is not None:
            where += f" AND {compile_filters(filters, parameters, column='c.metadata_')}"
        return await self._nodes_where(where, parameters)

    async def async_add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """Add nodes with their embeddings; existing nodes are replaced, missing documents are created.

        A node without a source document is a document of its own. No document takes the place of another: where
        several would have the same source, each further one has its id before it.

        Raises:
            InvalidNode: a node, or its vector, cannot be stored; then none is.
            NodeTaken: a node is another document's chunk.
            DocumentAttached: a node's document is an attachment of another one.

        """
        return await own_loop.awaited(self._database.loop, self._added(nodes))

    async def adelete(self, ref_doc_id: str, **_: Any) -> None:
        """Delete a document with its chunks."""
        await own_loop.awaited(self._database.loop, self._deleted(ref_doc_id))

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any
    ) -> None:
        """Delete chunks by id, by filter, or both; without either, delete nothing.

        Their documents are read anew the next time that they are ingested.
        """
        if node_ids is not None or filters is not None:
            await own_loop.awaited(self._database.loop, self._deleted_nodes(node_ids, filters))

    def add(self, nodes: Sequence[BaseNode], **_: Any) -> list[str]:
        """See `async_add`."""
        return own_loop.run(self._database.loop, self.async_add(nodes))

    def delete(self, ref_doc_id: str, **_: Any) -> None:
        """See `adelete`."""
        own_loop.run(self._database.loop, self.adelete(ref_doc_id))

    def delete_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **_: Any) -> None:
        """See `adelete_nodes`."""
        own_loop.run(self._database.loop, self.adelete_nodes(node_ids, filters))

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """See `aget_nodes`."""
        return own_loop.run(self._database.loop, self.aget_nodes(node_ids, filters))

    def query(self, query: VectorStoreQuery, **_: Any) -> VectorStoreQueryResult:
        """See `aquery`."""
        return own_loop.run(self._database.loop, self.aquery(query))

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
            parts.append(f"node_id = ANY({parameters.bind(list(filter(is_text, node_ids)), 'text[]')})")
        if (group := filter_group(filters)) is not None:
            parts.append(compile_filters(group, parameters, column=column))
        return " AND ".join(parts)

    async def _queried(self, query: VectorStoreQuery) -> VectorStoreQueryResult:
        hits = await self._search.search(
            SearchRequest(
                mode=MODES[query.mode],
                limit=_limit(query),
                embedding=self._vector(query),
                text=(query.query_str or "").replace("\0", " ").encode(errors="replace").decode(),
                filters=filter_group(query.filters),
                document_ids=list(filter(is_text, query.doc_ids)) if query.doc_ids else None,
                node_ids=list(filter(is_text, query.node_ids)) if query.node_ids else None,
            )
        )
        kept = {node.node_id: node for node in await self._nodes([hit.node_id for hit in hits], None)}
        return VectorStoreQueryResult(
            nodes=[
                placed(kept[hit.node_id], hit) if hit.node_id in kept else hit_node(hit)  # deleted meanwhile
                for hit in hits
            ],
            similarities=[hit.score for hit in hits],
            ids=[hit.node_id for hit in hits],
        )

    def _vector(self, query: VectorStoreQuery) -> NDArray[np.float32] | None:
        if MODES[query.mode] == "keyword":
            return None
        return unit_vector(query.query_embedding, model=self._generation.embedding, of="the query")

    async def _nodes(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[BaseNode]:
        parameters = Parameters()
        return await self._nodes_where(self._where(parameters, node_ids, filters, column="c.metadata_"), parameters)

    async def _nodes_where(self, where: str, parameters: Parameters) -> list[BaseNode]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"SELECT c.text, c.metadata_ FROM {self._readable} WHERE {where} ORDER BY c.document_id, c.chunk_index",
                *parameters.values,
            )
        return [node_of(row["metadata_"], row["text"]) for row in rows]

    async def _added(self, nodes: Sequence[BaseNode]) -> list[str]:
        added = await NodeWrites(self._database, generation=self._generation).add(nodes)
        await Lexicon(self._database, generation=self._generation).keep_up()
        return added

    async def _deleted(self, document_id: str) -> None:
        if not is_text(document_id):
            return  # no document has such an id
        await Documents(self._database, generation=self._generation).delete(document_id)
        await Lexicon(self._database, generation=self._generation).keep_up()

    async def _deleted_nodes(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> None:
        await self._delete_nodes(node_ids, filters)
        await Lexicon(self._database, generation=self._generation).keep_up()

    @rerun_on_conflict
    async def _delete_nodes(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> None:
        parameters = Parameters()
        where = self._where(parameters, node_ids, filters)
        async with self._database.transaction() as connection:
            # lock documents before their chunks, in the same order as other writers
            await connection.execute(
                f"""SELECT FROM footnote.documents d WHERE d.generation_id = {int(self._generation.id)} AND d.id IN
                    (SELECT document_id FROM {self._table} WHERE {where}) ORDER BY d.id FOR UPDATE""",
                *parameters.values,
            )
            # update their documents too, so that cached answers become invalid and no version counts as unchanged
            await connection.execute(
                f"""WITH gone AS (
                        DELETE FROM {self._table} WHERE {where} AND document_id IN (
                            SELECT d.id FROM footnote.documents d WHERE d.generation_id = {int(self._generation.id)})
                        RETURNING document_id)
                    UPDATE footnote.documents d
                    SET chunks = d.chunks - g.chunks, pipeline_fingerprint = '{CHANGED_BY_NODES}'
                    FROM (SELECT document_id, count(*) AS chunks FROM gone GROUP BY document_id) g
                    WHERE d.generation_id = {int(self._generation.id)} AND d.id = g.document_id""",
                *parameters.values,
            )


def _limit(query: VectorStoreQuery) -> int:
    """Return how many nodes a query wants: LlamaIndex has a number for each kind of mode."""
    own = {"hybrid": query.hybrid_top_k, "keyword": query.sparse_top_k, "vector": None}[MODES[query.mode]]
    return max(0, own or query.similarity_top_k)


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
