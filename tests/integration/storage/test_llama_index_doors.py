"""Each door of LlamaIndex's into our store, with its own classes: sync from a thread, async on the loop."""

import asyncio

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.node_parser import (
    HierarchicalNodeParser,
    SentenceSplitter,
    SentenceWindowNodeParser,
    get_leaf_nodes,
)
from llama_index.core.postprocessor import MetadataReplacementPostProcessor, PrevNextNodePostprocessor
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.retrievers import (
    AutoMergingRetriever,
    QueryFusionRetriever,
    RecursiveRetriever,
    RouterRetriever,
    VectorIndexRetriever,
)
from llama_index.core.schema import IndexNode, NodeRelationship, QueryBundle, RelatedNodeInfo, TextNode
from llama_index.core.selectors import EmbeddingSingleSelector
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.tools import RetrieverTool
from llama_index.core.vector_stores.types import MetadataFilter, MetadataFilters
from support.embedding_of import EmbeddingOf
from support.engines import BREAD, HARBOUR
from support.indexed import TEXTS, index

from config.settings import RetrievalSettings
from storage.collections.collections import Collections
from storage.documents.catalog import DocumentCatalog
from storage.vector_store import ChunkStore

WAYS = ("sync", "async")
QUESTION = "Who built the lighthouse?"
SPLITTER = SentenceSplitter(chunk_size=64, chunk_overlap=0)


async def call(way, door, name, *args, **options):
    """Call a method of LlamaIndex's: itself on another thread, or its async twin here."""
    if way == "sync":
        return await asyncio.to_thread(getattr(door, name), *args, **options)
    return await getattr(door, f"a{name}")(*args, **options)


async def texts_of(way, retriever, question=QUESTION):
    return [found.node.get_content() for found in await call(way, retriever, "retrieve", question)]


@pytest.fixture
async def store(database, embedder):
    await index(database, embedder)
    generation = await Collections(database).active("default")
    return ChunkStore(database, generation=generation, settings=RetrievalSettings())


@pytest.fixture
def model(embedder):
    return EmbeddingOf(embedder)


def index_over(store, model, **options):
    return VectorStoreIndex.from_vector_store(store, embed_model=model, transformations=[SPLITTER], **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["default", "sparse", "text_search", "hybrid", "semantic_hybrid"])
async def test_the_stock_retriever_finds_in_every_mode(store, model, mode, way):
    retriever = index_over(store, model).as_retriever(vector_store_query_mode=mode, similarity_top_k=2)
    found = await texts_of(way, retriever)
    assert found[0] == TEXTS["lighthouse.md"]
    assert len(found) == (1 if mode in {"sparse", "text_search"} else 2)


async def test_each_mode_has_a_number_of_its_own(store, model):
    options = {"similarity_top_k": 4, "sparse_top_k": 1, "hybrid_top_k": 2}
    counts = {
        mode: len(
            await index_over(store, model)
            .as_retriever(vector_store_query_mode=mode, **options)
            .aretrieve("lighthouse bread rows starter")
        )
        for mode in ("default", "sparse", "hybrid")
    }
    assert counts == {"default": 4, "sparse": 1, "hybrid": 2}


@pytest.mark.parametrize("way", WAYS)
async def test_ids_restrict_if_there_are_any(store, model, way):
    every = await store.aget_nodes()
    bread = next(node for node in every if node.get_content() == TEXTS["bread.md"])
    over = index_over(store, model)
    for restriction in ({"node_ids": [bread.node_id]}, {"doc_ids": [bread.ref_doc_id]}):
        assert await texts_of(way, VectorIndexRetriever(over, **restriction)) == [TEXTS["bread.md"]]
    for none in ({"node_ids": []}, {"doc_ids": []}, {"node_ids": None, "doc_ids": None}):
        assert len(await texts_of(way, VectorIndexRetriever(over, similarity_top_k=9, **none))) == len(TEXTS)


@pytest.mark.parametrize("way", WAYS)
async def test_documents_are_inserted_refreshed_and_deleted(store, model, database, way):
    over = index_over(store, model)
    told = {"file_name": "ferry.md"}
    first = Document(text="The ferry to Ostrava leaves at noon.", id_="ferry", metadata=told)
    await call(way, over, "insert", first)
    ferry = over.as_retriever(similarity_top_k=1)
    assert await texts_of(way, ferry, "When does the ferry leave?") == [first.text]
    assert (await DocumentCatalog(database).get("ferry", collection="default")).chunks == 1

    assert await call(way, over, "refresh_ref_docs", [first]) == [False]
    later = Document(text="The ferry to Ostrava leaves at midnight.", id_="ferry", metadata=told)
    assert await call(way, over, "refresh_ref_docs", [later]) == [True]
    assert await texts_of(way, ferry, "When does the ferry leave?") == [later.text]
    assert len(await store.aget_nodes()) == len(TEXTS) + 1

    tagged = Document(text=later.text, id_="ferry", metadata={**told, "year": 1912})
    assert await call(way, over, "refresh_ref_docs", [tagged]) == [True]
    of_1912 = MetadataFilters(filters=[MetadataFilter(key="year", value=1912)])
    assert [node.ref_doc_id for node in await call(way, store, "get_nodes", filters=of_1912)] == ["ferry"]

    await call(way, over, "delete_ref_doc", "ferry")
    assert len(await store.aget_nodes()) == len(TEXTS)
    await call(way, over, "insert", later)  # a deleted document may come again
    assert await texts_of(way, ferry, "When does the ferry leave?") == [later.text]


@pytest.mark.parametrize("way", WAYS)
async def test_nodes_are_inserted_replaced_in_place_got_and_deleted(store, model, way):
    over = index_over(store, model)
    of_crane = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id="crane")}
    nodes = [TextNode(id_=f"c{n}", text=f"Crane {n} lifts {n} tons.", relationships=of_crane) for n in range(3)]
    await call(way, over, "insert_nodes", nodes)
    again = TextNode(id_="c0", text="Crane 0 is scrap.", metadata={"state": "gone"}, relationships=of_crane)
    await call(way, over, "insert_nodes", [again])
    got = await call(way, store, "get_nodes", node_ids=["c0", "c1", "c2"])
    assert [node.get_content() for node in got] == [again.text, nodes[1].text, nodes[2].text]
    assert got[0].metadata == again.metadata
    relabelled = again.model_copy(update={"metadata": {"state": "sold"}})  # the same text
    await call(way, over, "insert_nodes", [relabelled])
    assert (await call(way, store, "get_nodes", node_ids=["c0"]))[0].metadata == {"state": "sold"}
    await call(way, over, "delete_nodes", ["c0", "c2"])
    assert [node.node_id for node in await call(way, store, "get_nodes", ["c0", "c1", "c2"])] == ["c1"]
    assert await call(way, store, "get_nodes", node_ids=[]) == []
    await call(way, store, "delete_nodes", node_ids=[])
    assert len(await store.aget_nodes()) == len(TEXTS) + 1


@pytest.mark.parametrize("way", WAYS)
async def test_an_index_is_made_from_documents(store, model, way):
    context = StorageContext.from_defaults(vector_store=store)
    documents = [Document(text=text, metadata={"file_name": name}) for name, text in {"b": BREAD, "h": HARBOUR}.items()]

    def make():
        return VectorStoreIndex.from_documents(
            documents, storage_context=context, embed_model=model, transformations=[SPLITTER], use_async=way == "async"
        )

    over = await asyncio.to_thread(make)
    found = await texts_of(way, over.as_retriever(similarity_top_k=2), "Which boats below ten metres pay three crowns?")
    assert any("three crowns" in text for text in found)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fusion", ["simple", "reciprocal_rerank", "relative_score", "dist_based_score"])
@pytest.mark.parametrize("use_async", [True, False])
async def test_a_fusion_retriever_asks_it_at_the_same_time(store, model, fusion, use_async, way):
    over = index_over(store, model)
    retrievers = [over.as_retriever(vector_store_query_mode=mode) for mode in ("default", "sparse", "hybrid")]
    fused = QueryFusionRetriever(
        retrievers, llm=MockLLM(), num_queries=1, mode=fusion, similarity_top_k=2, use_async=use_async
    )
    assert (await texts_of(way, fused))[0] == TEXTS["lighthouse.md"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_router_chooses_between_two_over_it(store, model, way):
    over = index_over(store, model)
    tools = [
        RetrieverTool.from_defaults(over.as_retriever(similarity_top_k=1), description="lighthouses and harbours"),
        RetrieverTool.from_defaults(
            over.as_retriever(vector_store_query_mode="sparse", similarity_top_k=9), description="databases"
        ),
    ]
    selector = EmbeddingSingleSelector.from_defaults(embed_model=model)
    router = RouterRetriever(selector=selector, retriever_tools=tools, llm=MockLLM())
    assert await texts_of(way, router) == [TEXTS["lighthouse.md"]]


# LlamaIndex's AutoMergingRetriever and RecursiveRetriever have no async method of their own
async def test_parents_take_the_place_of_their_children(store, model):
    parser = HierarchicalNodeParser.from_defaults(chunk_sizes=[256, 64, 32], chunk_overlap=0)
    nodes = parser.get_nodes_from_documents(
        [Document(text=HARBOUR, id_="harbour", metadata={"file_name": "harbour.md"})]
    )
    kept = SimpleDocumentStore()
    kept.add_documents(nodes)
    context = StorageContext.from_defaults(vector_store=store, docstore=kept)
    over = VectorStoreIndex(nodes=[], storage_context=context, embed_model=model)
    leaves = get_leaf_nodes(nodes)
    await over.ainsert_nodes(leaves)
    retriever = AutoMergingRetriever(over.as_retriever(similarity_top_k=8), context, simple_ratio_thresh=0.4)
    found = await asyncio.to_thread(retriever.retrieve, "When do spring tides rise, and how high is the water?")
    ids = {leaf.node_id for leaf in leaves}
    assert any(each.node.node_id not in ids and "Spring tides" in each.node.get_content() for each in found)


@pytest.mark.parametrize("way", WAYS)
async def test_a_sentence_brings_its_window(store, model, way):
    parser = SentenceWindowNodeParser.from_defaults(window_size=1)
    over = index_over(store, model)
    await call(way, over, "insert_nodes", parser.get_nodes_from_documents([Document(text=BREAD, id_="bread")]))
    found = await call(way, over.as_retriever(similarity_top_k=1), "retrieve", "When does bread crackle?")
    assert found[0].node.get_content(metadata_mode="embed") == found[0].node.get_content(metadata_mode="none")
    widened = MetadataReplacementPostProcessor(target_metadata_key="window").postprocess_nodes(found)
    assert "starter is fed" in widened[0].node.get_content()


@pytest.mark.parametrize("way", WAYS)
async def test_neighbours_are_found_by_their_relationships(store, model, way):
    nodes = SPLITTER.get_nodes_from_documents([Document(text=HARBOUR, id_="harbour")])
    kept = SimpleDocumentStore()
    kept.add_documents(nodes)
    over = index_over(store, model)
    await call(way, over, "insert_nodes", nodes)
    found = await call(way, over.as_retriever(similarity_top_k=1), "retrieve", "How high do neap tides rise?")
    widened = PrevNextNodePostprocessor(docstore=kept, num_nodes=1, mode="both").postprocess_nodes(found)
    places = [nodes.index(next(node for node in nodes if node.node_id == each.node.node_id)) for each in widened]
    assert len(places) > 1
    assert places == list(range(places[0], places[0] + len(places)))


async def test_a_node_of_an_index_leads_to_what_it_stands_for(store, model):
    over = index_over(store, model)
    ferry = TextNode(text="The ferry leaves at noon.", id_="ferry")
    await over.ainsert_nodes([IndexNode(text="When ships and ferries leave", index_id="ferry", id_="link")])
    retriever = RecursiveRetriever(
        "top", retriever_dict={"top": over.as_retriever(similarity_top_k=1)}, node_dict={"ferry": ferry}
    )
    assert await texts_of("sync", retriever, "When do ferries and ships leave?") == [ferry.text]
    with pytest.raises(RuntimeError, match=r"asyncio\.to_thread"):  # it calls sync methods on the loop
        await retriever.aretrieve("When do ferries and ships leave?")


@pytest.mark.parametrize("way", WAYS)
async def test_a_query_engine_answers_over_it(store, model, way):
    engine = RetrieverQueryEngine.from_args(index_over(store, model).as_retriever(similarity_top_k=1), llm=MockLLM())
    response = await call(way, engine, "query", QueryBundle(QUESTION))
    assert [found.node.get_content() for found in response.source_nodes] == [TEXTS["lighthouse.md"]]
    assert TEXTS["lighthouse.md"] in str(response)


async def test_nodes_come_back_as_they_were_added(store, model):
    related = {
        NodeRelationship.SOURCE: RelatedNodeInfo(node_id="crane", metadata={"deep": [1]}),
        NodeRelationship.NEXT: RelatedNodeInfo(node_id="elsewhere"),
        NodeRelationship.CHILD: [RelatedNodeInfo(node_id="small"), RelatedNodeInfo(node_id="smaller")],
    }
    node = TextNode(
        id_="c",
        text="A crane of Kraków lifts 4 tons. \u2028 \U0001f3d7",
        metadata={"page": "xii", "chunk_index": "z", "tags": ["a", {"b": None}], "source": None, "heading": 7},
        relationships=related,
        start_char_idx=5,
        end_char_idx=60,
        excluded_llm_metadata_keys=["page"],
        metadata_template="{key} = {value}",
    )
    await index_over(store, model).ainsert_nodes([node])
    (got,) = await store.aget_nodes(["c"])
    assert got == node
    (found,) = await index_over(store, model).as_retriever(similarity_top_k=1).aretrieve("crane")
    assert found.node.metadata == node.metadata | {"chunk_index": 0}
    assert found.node.relationships == node.relationships
