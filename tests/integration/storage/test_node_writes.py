"""Nodes of LlamaIndex's become documents: none displaces another, and what cannot be stored is refused whole."""

import asyncio
import json
from dataclasses import replace

import numpy as np
import pytest
from llama_index.core.schema import Document, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from support.corpus import DIMENSION, chunks, document, fill, make_collection, vector

from config.settings import RetrievalSettings
from storage.documents.catalog import DocumentCatalog
from storage.documents.originals import Originals
from storage.documents.rows import stored_row
from storage.documents.versions import CHANGED_BY_NODES
from storage.documents.writes import Documents
from storage.errors import InvalidNode, InvalidVector, NodeTaken
from storage.search.search import SearchRequest
from storage.vector_store import ChunkStore


@pytest.fixture
async def store(database):
    generation = await make_collection(database)
    return ChunkStore(database, generation=generation, settings=RetrievalSettings())


def node(name, *, of=None, text="", **options):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=of)} if of else {}
    text = text or f"text of {name}"
    embedding = options.pop("embedding", vector(name).tolist())
    return TextNode(id_=name, text=text, relationships=source, embedding=embedding, **options)


async def listed(store):
    return (await DocumentCatalog(store.client).list(collection="default", limit=1000)).items


async def test_every_page_of_a_file_stays_when_they_come_together(store):
    """LlamaIndex's SimpleDirectoryReader makes one Document a page, all with one path."""
    pages = [
        Document(text=f"page {number}", id_=f"p{number}", metadata={"file_path": "/a/book.pdf", "page_label": number})
        for number in range(884)
    ]
    nodes = [node(f"n{page.id_}", of=page.id_, text=page.text, metadata=page.metadata) for page in pages]
    await store.async_add(nodes)
    assert len(await store.aget_nodes()) == len(nodes)
    assert await store.async_add(nodes) == [each.node_id for each in nodes]
    assert len(await store.aget_nodes()) == len(nodes)
    sources = {each.source for each in await listed(store)}
    assert {"/a/book.pdf", "p1//a/book.pdf"} <= sources


async def test_nodes_without_a_document_that_name_one_source_are_all_kept(store):
    await store.async_add([node(f"n{number}", metadata={"source": "notes"}) for number in range(3)])
    assert sorted(each.text for each in await store.aget_nodes()) == ["text of n0", "text of n1", "text of n2"]


async def test_nodes_that_come_at_the_same_time_displace_none(store):
    groups = [[node(f"{n}-{m}", of=f"d{n}-{m}", metadata={"file_path": "/a"}) for m in range(4)] for n in range(6)]
    await asyncio.gather(*map(store.async_add, groups))
    assert len(await store.aget_nodes()) == 24


async def test_nodes_of_one_document_that_come_at_the_same_time_are_all_kept(store):
    await asyncio.gather(*(store.async_add([node(f"n{number}", of="d")]) for number in range(12)))
    assert len(await store.aget_nodes()) == 12


async def test_a_document_that_was_ingested_keeps_its_source_and_what_is_known_of_it(store, database, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"bytes")
    made = document("a.pdf", content="bytes", metadata={"year": 2024}, revision=1)
    await Originals(database).put(path, content_hash=made.content_hash)
    made = replace(made, original=made.content_hash, pages=[(0, "i"), (9, "ii")], warnings=[{"kind": "k"}])
    documents = Documents(database, generation=store.generation)
    await documents.write(made, chunks(made, "one", "two"), replaces=None)
    await store.async_add([node("n", of=made.id), node("other", metadata={"source": "a.pdf"})])
    async with database.connection() as connection:
        row = await stored_row(connection, store.generation.id, made.id)
        other = await stored_row(connection, store.generation.id, "other")
    kept = ("source", "title", "metadata", "content_hash", "original", "pages", "warnings")
    assert json.dumps([getattr(row, name) for name in kept]) == json.dumps([getattr(made, name) for name in kept])
    assert row.pipeline_fingerprint.endswith(
        CHANGED_BY_NODES
    )  # the file's next version is read, though it be the same bytes
    assert other.source == "other/a.pdf"
    (info,) = [each for each in await listed(store) if each.id == made.id]
    assert info.chunks == 3


async def test_a_node_of_another_document_is_refused_and_nothing_is_written(store):
    await store.async_add([node("n", of="one")])
    with pytest.raises(NodeTaken, match="'n' is a chunk of document 'one'"):
        await store.async_add([node("m", of="two"), node("n", of="two")])
    with pytest.raises(NodeTaken, match="'m' is a chunk of document 'two'"):
        await store.async_add([node("m", of="two"), node("m", of="three")])
    assert [each.node_id for each in await store.aget_nodes()] == ["n"]


async def test_of_two_nodes_with_one_id_the_last_stays(store):
    await store.async_add([node("n", of="one", text="first"), node("n", of="one", text="last")])
    assert [each.text for each in await store.aget_nodes()] == ["last"]


@pytest.mark.parametrize(
    ("embedding", "said"),
    [
        (None, "has no vector"),
        ([], "has no vector"),
        ([1.0] * (DIMENSION - 1), "has 15 dimensions, those of model 'made-up' have 16"),
        ([0.0] * DIMENSION, "zero or not finite"),
        ([float("nan")] * DIMENSION, "zero or not finite"),
        ([float("inf")] * DIMENSION, "zero or not finite"),
        ([1e-320] * DIMENSION, "zero or not finite|32-bit"),
    ],
)
async def test_a_vector_that_is_none_of_the_models_is_refused_and_nothing_is_written(store, embedding, said):
    with pytest.raises(InvalidVector, match=said):
        await store.async_add([node("good"), node("bad", embedding=embedding)])
    assert await store.aget_nodes() == []
    with pytest.raises(InvalidVector, match=said):
        await store.aquery(VectorStoreQuery(query_embedding=embedding))


@pytest.mark.parametrize("length", [1e-30, 0.5, 3.0, 1e30])
async def test_a_vector_gets_the_length_that_the_models_have(store, database, length):
    long = (vector("n").astype(float) * length).tolist()
    await store.async_add([node("n", embedding=long)])
    async with database.connection() as connection:
        stored = await connection.fetchval("SELECT embedding FROM footnote.data_generation_1")
    assert np.allclose(stored.to_numpy(), vector("n"), atol=1e-6)
    assert (await store.aquery(VectorStoreQuery(query_embedding=long))).similarities == [pytest.approx(1)]


@pytest.mark.parametrize(
    "bad",
    [
        {"text": "a\0b"},
        {"text": "half \ud800 a pair"},
        {"metadata": {"x": "a\0b"}},
        {"metadata": {"a\0b": 1}},
        {"metadata": {"x": ["\udc00"]}},
        {"metadata": {"x": object()}},
        {"of": "d" * 1001},
        {"of": "d\0"},
        {"text": "word " * 60_001},
        {"metadata": {"title": "t" * 300_001}},
    ],
)
async def test_what_cannot_be_stored_is_refused_by_name_and_nothing_is_written(store, bad):
    with pytest.raises(InvalidNode, match=r"node 'bad'|the id 'd"):
        await store.async_add([node("good"), node("bad", **bad)])
    assert await store.aget_nodes() == []


async def test_the_longest_text_of_only_different_words_is_stored(store):
    words = " ".join(f"{number:05x}" for number in range(49_999))
    await store.async_add([node("n", text=words)])
    (hit,) = await store.search(SearchRequest(mode="keyword", limit=9, text="00002"))
    assert hit.text == words


@pytest.mark.parametrize("top", [0, -3])
async def test_a_query_for_no_nodes_finds_none(store, top):
    await store.async_add([node("n")])
    for mode in ("default", "sparse", "hybrid"):
        query = VectorStoreQuery(
            query_embedding=vector("n").tolist(),
            query_str="text",
            similarity_top_k=top,
            mode=VectorStoreQueryMode(mode),
        )
        assert (await store.aquery(query)).nodes == []


async def test_a_query_without_words_finds_nothing_by_words(store):
    await store.async_add([node("n")])
    for text in (None, "", "\0", "\ud800"):
        found = await store.aquery(VectorStoreQuery(query_str=text, mode=VectorStoreQueryMode.SPARSE))
        assert found.nodes == []


@pytest.mark.parametrize("name", ["n\0", "\ud800", "x" * 10_000])
async def test_an_id_that_cannot_be_is_that_of_nothing(store, name):
    await store.async_add([node("n", of="d")])
    for ids in ({"node_ids": [name]}, {"doc_ids": [name]}):
        assert (await store.aquery(VectorStoreQuery(query_embedding=vector("n").tolist(), **ids))).nodes == []
    assert await store.aget_nodes([name]) == []
    await store.adelete_nodes([name])
    await store.adelete(name)
    assert len(await store.aget_nodes()) == 1


async def test_a_node_is_found_and_cited_by_its_documents_source(store):
    await store.async_add([node("n", of="d", metadata={"source": ""}), node("m", metadata={"file_path": "/a/m.txt"})])
    hits = await store.search(SearchRequest(mode="keyword", limit=9, text="text of"))
    assert {hit.node_id: hit.metadata["source"] for hit in hits} == {"n": "d", "m": "/a/m.txt"}
    assert [each.metadata for each in await store.aget_nodes(["m"])] == [{"file_path": "/a/m.txt"}]


@pytest.mark.parametrize(
    ("page", "stored"),
    [(3, 3), ("3", 3), (" 12 ", 12), (3.0, 3), ("xii", None), (True, None), (-1, None), (2**31, None), ([3], None)],
)
async def test_a_page_is_read_if_it_is_a_number_and_else_left_in_the_metadata(store, page, stored):
    await store.async_add([node("n", metadata={"page": page})])
    (hit,) = await store.search(SearchRequest(mode="keyword", limit=9, text="text"))
    assert (hit.page, hit.metadata["page"]) == (stored, page)


async def test_a_chunk_that_another_program_deleted_comes_back_with_its_node(store, database):
    nodes = [node(f"n{number}", of="d") for number in range(3)]
    await store.async_add(nodes)
    await execute_in(database, "DELETE FROM footnote.data_generation_1 WHERE node_id = 'n1'")
    await store.async_add(nodes)
    assert sorted(each.node_id for each in await store.aget_nodes()) == ["n0", "n1", "n2"]


async def execute_in(database, statement):
    async with database.connection() as connection:
        await connection.execute(statement)


async def test_a_document_of_which_nodes_were_deleted_is_not_the_same_version(store, database):
    await fill(database, store.generation, {"a": ("text", {})})
    (only,) = await store.aget_nodes()
    await store.adelete_nodes([only.node_id])
    state = (await Documents(database, generation=store.generation).states(["a"]))["a"]
    assert not state.is_made_of(state.content_hash, "p")
