"""LlamaIndex's own classes over our index, and our store behind LlamaIndex's."""

import asyncio

import pytest
import sqlalchemy
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.postgres import PGVectorStore
from sqlalchemy.ext.asyncio import create_async_engine
from support.corpus import DIMENSION, fill, make_collection, vector

from config.settings import RetrievalSettings
from storage.collections.collections import Collections
from storage.vector_store import ChunkStore

TEXTS = {
    "a": ("Autovacuum removes dead rows", {"year": 2024, "tags": ["x"]}),
    "b": ("The planner uses random_page_cost", {"year": 2023}),
    "c": ("Write-ahead logging keeps data safe", {}),
}


@pytest.fixture
async def store(database):
    generation = await make_collection(database)
    await fill(database, generation, TEXTS)
    return ChunkStore(database, generation=generation, settings=RetrievalSettings())


@pytest.mark.parametrize("use_jsonb", [True, False])
@pytest.mark.parametrize("hybrid", [True, False])
async def test_the_stock_class_opens_our_index_and_gets_the_same_nodes(store, settings, use_jsonb, hybrid):
    table = (await Collections(store.client).info("default")).table
    url = settings.database.url.get_secret_value()
    sync_engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    async_engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    stock = PGVectorStore(
        engine=sync_engine,
        async_engine=async_engine,
        connection_string=url,
        async_connection_string=url,
        schema_name="footnote",
        table_name=table.removeprefix("data_"),
        embed_dim=DIMENSION,
        hybrid_search=hybrid,
        use_jsonb=use_jsonb,
        perform_setup=False,
    )
    index = VectorStoreIndex.from_vector_store(stock, embed_model=MockEmbedding(DIMENSION))
    query = VectorStoreQuery(
        query_embedding=vector("q").tolist(),
        query_str="planner",
        similarity_top_k=10,
        sparse_top_k=10,
        mode=VectorStoreQueryMode.HYBRID if hybrid else VectorStoreQueryMode.DEFAULT,
    )
    theirs = {node.node_id: node for node in (await stock.aquery(query)).nodes}
    ours = {node.node_id: node for node in (await store.aquery(query)).nodes}
    assert theirs == ours
    assert len(ours) == len(TEXTS)
    retrieved = await index.as_retriever(similarity_top_k=10).aretrieve("anything")
    assert {found.node.node_id: found.node for found in retrieved} == ours
    await async_engine.dispose()
    sync_engine.dispose()


async def test_nodes_say_where_they_come_from_and_show_models_title_and_text_only(store):
    (node,) = (await store.aquery(_query(1, filters=("year", 2024)))).nodes
    assert node.metadata == {"year": 2024, "tags": ["x"], "title": "a", "source": "a", "chunk_index": 0}
    assert node.ref_doc_id
    assert node.get_content(metadata_mode="llm") == "title: a\n\nAutovacuum removes dead rows"


async def test_nodes_are_got_and_deleted_by_id_and_filter_and_by_neither_not_at_all(store):
    everything = await store.aget_nodes()
    assert len(everything) == 3
    await store.adelete_nodes()
    assert len(await store.aget_nodes()) == 3
    (wanted,) = await store.aget_nodes(filters=_filters("year", 2023))
    assert await store.aget_nodes([wanted.node_id]) == [wanted]
    await store.adelete_nodes([wanted.node_id], _filters("year", 1999))
    assert len(await store.aget_nodes()) == 3
    await store.adelete_nodes([wanted.node_id])
    assert len(await store.aget_nodes()) == 2


async def test_an_index_inserts_and_deletes_through_the_store_without_doubling(store):
    index = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(DIMENSION))
    nodes = [
        TextNode(
            id_=f"n{number}",
            text=f"inserted {number}",
            metadata={"lang": "en"},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id="doc")},
        )
        for number in range(3)
    ]
    await index.ainsert_nodes(nodes)
    await index.ainsert_nodes(nodes[:1])  # again
    stored = await store.aget_nodes(filters=_filters("lang", "en"))
    assert sorted(node.node_id for node in stored) == ["n0", "n1", "n2"]
    await store.adelete("doc")
    assert not await store.aget_nodes(filters=_filters("lang", "en"))
    assert len(await store.aget_nodes()) == 3


async def test_a_node_of_somebody_elses_is_cited_by_its_place_whatever_its_metadata_say(store):
    texts = [f"the {word} crane of the harbour" for word in ("first", "second", "third")]
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="cranes")}
    nodes = [
        TextNode(text=text, metadata={"chunk_index": "nonsense"}, embedding=vector(text).tolist(), relationships=source)
        for text in texts
    ]
    await store.async_add(nodes)
    query = VectorStoreQuery(query_embedding=vector(texts[1]).tolist(), similarity_top_k=1)
    found = (await store.aquery(query)).nodes[0]
    assert (found.get_content(), found.metadata["chunk_index"]) == (texts[1], 1)


async def test_sync_methods_work_from_a_thread_and_refuse_the_event_loop(store):
    result = await asyncio.to_thread(store.query, _query(2))
    assert len(result.nodes) == 2
    with pytest.raises(RuntimeError, match="async"):
        store.query(_query(2))


async def test_an_unknown_query_mode_is_refused(store):
    with pytest.raises(ValueError, match="mmr"):
        await store.aquery(VectorStoreQuery(query_embedding=[0.0], mode=VectorStoreQueryMode.MMR))


def _filters(key, value):
    return MetadataFilters(filters=[MetadataFilter(key=key, value=value)])


def _query(limit, filters=None):
    return VectorStoreQuery(
        query_embedding=vector("q").tolist(),
        similarity_top_k=limit,
        filters=_filters(*filters) if filters else None,
    )


async def test_documents_of_one_name_are_all_kept(store):
    """LlamaIndex gives each page of a PDF an id of its own, and the same path."""

    def page(number):
        return TextNode(
            id_=f"node {number}",
            text=f"page {number}",
            embedding=vector(f"page {number}").tolist(),
            metadata={"file_path": "/a/book.pdf"},
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"page-{number}")},
        )

    await store.async_add([page(1)])
    await store.async_add([page(2), page(3)])
    assert {node.text for node in await store.aget_nodes([f"node {number}" for number in range(1, 4)])} == {
        "page 1", "page 2", "page 3",
    }  # fmt: skip
