"""`window`: hits with their neighbours, read from the chunk table of a real index."""

import pytest
from support.chaptered import index_chaptered
from support.engines import BREAD, HARBOUR, service
from support.model_server import Reply

from server.answers import Question
from server.engines.query import window
from storage.search.filters import Filter, FilterGroup

PAY = "How many crowns a month is the keeper's pay?"


@pytest.fixture
async def opened(database, embedder, settings, model_server):
    """Return a function that opens the service over two documents in small chunks that overlap."""
    model_server.requests.clear()
    model_server.default = Reply("Forty [1].")
    await index_chaptered(database, embedder, {"harbour.md": HARBOUR, "bread.md": BREAD}, tokens=40, overlap=12)

    def make(*, with_model=False, **groups):
        server = model_server if with_model else None
        return service(settings, database=database, embedder=embedder, model_server=server, **groups)

    return make


def squeezed(text):
    return " ".join(text.split())


async def test_a_hit_comes_with_its_neighbours_each_character_once(opened):
    async with opened() as made:
        (alone,) = (await made.retrieve(Question(PAY, k=1))).results
        (window,) = (await made.retrieve(Question(PAY, k=1, mode="window"))).results
    assert window.node_id == alone.node_id
    assert window.chunks == (alone.chunk_index - 1, alone.chunk_index, alone.chunk_index + 1)
    assert window.start < alone.start < alone.end < window.end
    assert alone.text in window.text
    assert len(window.text) == window.end - window.start
    assert squeezed(window.text) == squeezed(HARBOUR[window.start : window.end])


async def test_how_wide_a_window_is_stands_in_the_settings(opened, monkeypatch):
    async with opened(engines={"window_chunks": 0}) as made:
        (none,) = (await made.retrieve(Question(PAY, k=1, mode="window"))).results
    monkeypatch.setattr(window, "WINDOW_CHARACTERS", 100_000)
    async with opened(engines={"window_chunks": 20}) as made:
        (whole,) = (await made.retrieve(Question(PAY, k=1, mode="window"))).results
    monkeypatch.setattr(window, "WINDOW_CHARACTERS", 150)
    async with opened(engines={"window_chunks": 20}) as made:
        (narrow,) = (await made.retrieve(Question(PAY, k=1, mode="window"))).results
    assert len(none.chunks) == 1
    assert squeezed(whole.text) == squeezed(HARBOUR)  # the document's ends are ends
    assert whole.heading in (None, "Harbour handbook")
    assert none.start - narrow.start <= 150
    assert narrow.end - none.end <= 150
    assert len(none.text) < len(narrow.text) < len(whole.text)


async def test_windows_that_touch_are_one_passage_and_say_nothing_twice(opened):
    async with opened() as made:
        hits = (await made.retrieve(Question("lighthouse keeper lamp", k=4, document_ids=None, min_score=0.0))).results
        windows = (await made.retrieve(Question("lighthouse keeper lamp", k=4, mode="window", min_score=0.0))).results
    assert 0 < len(windows) < len(hits)
    taken = [(window.document_id, index) for window in windows for index in window.chunks]
    assert len(taken) == len(set(taken))
    assert {(hit.document_id, hit.chunk_index) for hit in hits} <= set(taken)
    assert windows[0].node_id == hits[0].node_id
    assert [window.score for window in windows] == sorted((window.score for window in windows), reverse=True)


async def test_a_filter_holds_for_neighbours_too(opened):
    tides = FilterGroup(filters=[Filter(key="heading", value="Harbour handbook > Tides")])
    async with opened(engines={"window_chunks": 5}) as made:
        found = (
            await made.retrieve(Question("spring tides", k=1, mode="window", filters=tides, min_score=0.0))
        ).results
        free = (await made.retrieve(Question("spring tides", k=1, mode="window", min_score=0.0))).results
    assert "Spring tides" in found[0].text
    assert "crowns" not in found[0].text
    assert "crowns" in free[0].text


async def test_the_model_reads_what_is_cited_and_a_window_never_costs_a_hit_its_place(opened, model_server):
    # room for some 750 characters: four hits, and no neighbours
    async with opened(with_model=True, llm={"context_window": 900}) as made:
        hits = await made.retrieve(Question(PAY, k=4, max_tokens=100))
        tight = await made.ask(Question(PAY, k=4, max_tokens=100, mode="window"))
    assert {hit.chunk_index for hit in hits.results if hit.source == "harbour.md"} <= {
        index for citation in tight.done.citations if citation.source == "harbour.md" for index in citation.chunks
    }
    prompt = model_server.requests[-1].body["messages"][-1]["content"]
    assert all(citation.text in prompt for citation in tight.done.citations)
    async with opened(with_model=True) as made:
        wide = await made.ask(Question(PAY, k=4, max_tokens=100, mode="window"))
    assert sum(len(c.text) for c in wide.done.citations) > sum(len(c.text) for c in tight.done.citations)
    assert wide.answer == "Forty [1]."
    assert wide.done.citations[0].cited


async def test_nodes_without_offsets_stay_apart(opened, database, embedder):
    """LlamaIndex's own nodes may have none: each begins at 0."""
    from llama_index.core.schema import TextNode

    from config.settings import RetrievalSettings
    from storage.collections.collections import Collections
    from storage.vector_store import ChunkStore

    store = ChunkStore(database, generation=await Collections(database).active("default"), settings=RetrievalSettings())
    texts = ["The cellar holds nine barrels of cider.", "Barrels are rolled by two men.", "Cider is drunk in May."]
    nodes = [TextNode(text=text, metadata={"source": "cellar"}) for text in texts]
    for node, vector in zip(nodes, await embedder.texts(texts), strict=True):
        node.embedding = vector.tolist()
        node.relationships = {"1": {"node_id": "cellar", "node_type": None, "metadata": {}}}
    nodes = [TextNode.model_validate(node.model_dump()) for node in nodes]
    await store.async_add(nodes)
    async with opened() as made:
        (found,) = (await made.retrieve(Question("nine barrels of cider", k=1, mode="window"))).results
    assert found.text == texts[0]
