"""Nodes that other programs wrote, with metadata that are not what their names say: cited, whatever they hold."""

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from support.databases import in_database
from support.model_server import Reply

from config.settings import RetrievalSettings
from storage.collections.collections import Collections
from storage.vector_store import ChunkStore

QUESTION = "How tall is the odd tower of Ostrava?"
ODD = [
    {"page": "xii"},
    {"page": "7", "page_end": "8"},
    {"page": [1], "page_end": {"x": 1}},
    {"page": True, "chunk_index": None},
    {"page": -3, "chunk_index": "z"},
    {"page": 10**40, "chunk_index": 10**40},
    {"heading": ["a", "b"]},
    {"heading": 7},
    {"heading": {"level": 1}},
    {"title": ["t"], "source": ["s"], "file_name": 5},
    {"title": None, "source": None},
    {"title": "", "source": "", "file_path": "/towers/odd.md"},
    {"title": {"a": 1}, "heading": False},
    {"source": 12, "page": 2.0},
]
MODES = ("hybrid", "vector", "keyword", "fusion", "window", "auto_merging", "sub_question", "router", "summary")


async def _fill(database, embedder):
    generation = await Collections(database).active("default")
    store = ChunkStore(database, generation=generation, settings=RetrievalSettings())
    texts = [f"The odd tower of Ostrava is {number} metres tall." for number in range(len(ODD))]
    vectors = await embedder.texts(texts)
    nodes = [
        TextNode(
            id_=f"odd{number}",
            text=text,
            metadata=metadata,
            embedding=vector.tolist(),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=f"tower {number // 2}")},
        )
        for number, (text, metadata, vector) in enumerate(zip(texts, ODD, vectors, strict=True))
    ]
    await store.async_add(nodes)


@pytest.fixture(scope="module")
def http(stack):
    in_database(stack.dsn, lambda database: _fill(database, stack.embedder))
    stack.fresh(default=Reply(text="So it is [1]."))
    with stack.serve() as client:
        yield client


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("joins", [True, False])
def test_every_engine_answers_over_odd_metadata(http, mode, joins):
    body = {"question": QUESTION, "k": 20, "min_score": 0, "mode": mode, "join_neighbours": joins}
    answer = http.post("/query", json={**body, "near_duplicates": "keep"})
    assert answer.status_code == 200, answer.text
    assert all(citation["source"] and citation["title"] for citation in answer.json()["citations"])


def test_what_is_a_number_is_read_and_what_is_not_is_left_in_the_metadata(http):
    body = {"question": QUESTION, "k": 20, "min_score": 0, "near_duplicates": "keep", "join_neighbours": False}
    found = http.post("/retrieve", json=body).raise_for_status().json()
    cited = {citation["node_id"]: citation for citation in found["results"]}
    odd = [cited[f"odd{number}"] for number in range(len(ODD))]
    assert (odd[0]["page"], odd[0]["metadata"]["page"]) == (None, "xii")
    assert (odd[1]["page"], odd[1]["page_end"]) == (7, 8)
    assert (odd[2]["page"], odd[2]["metadata"]) == (None, {"page": [1], "page_end": {"x": 1}})
    assert [each["chunk_index"] for each in odd] == [0, 1] * (len(ODD) // 2)
    assert (odd[6]["heading"], odd[6]["metadata"]) == (None, {"heading": ["a", "b"]})
    assert odd[7]["heading"] == "7"
    assert (odd[9]["title"], odd[9]["metadata"]["title"]) == ("5", ["t"])
    assert odd[11]["source"] == "tower 5"
    assert (odd[13]["source"], odd[13]["page"]) == ("12", 2)
