"""The examples of docs/llamaindex.md, as they stand there."""

import asyncio
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import get_response_synthesizer
from support.databases import in_database
from support.embedding_of import EmbeddingOf
from support.indexed import TEXTS, index
from support.model_server import Reply

from server.engines import registry
from server.engines.models.guarded import GuardedLLM
from server.engines.query.fusion import FusionRetriever
from server.engines.retrieval import StoreRetriever
from storage.collections.collections import Collections
from storage.documents.catalog import DocumentCatalog
from storage.generation import Chunking

DOCS = Path(__file__).parents[4] / "docs" / "llamaindex.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", DOCS.read_text(), re.DOTALL | re.MULTILINE)
FACTS = {f"{name}.md": f"The {name} tower of Ostrava was built in 18{number}." for number, name in
         enumerate(("red", "blue", "green", "old", "new", "tall", "thin", "north", "south", "east", "west", "grey",
                    "round", "stone", "brick", "lamp", "bell", "clock"), 10)}  # fmt: skip
QUESTION = "When was the tower of Ostrava built?"


def example(beginning, **values):
    """Return the one example with a text in it, with values in the place of its made-up ones."""
    (found,) = [each for each in EXAMPLES if beginning in each]
    for name, value in {"host:5432/name": None, **values}.items():
        if value is not None:
            assert name in found
            found = found.replace(name, value)
    return found


def embed_by(embedder, monkeypatch):
    """Let the class that the examples take be the tests' model, which they need not load again."""
    module = ModuleType("llama_index.embeddings.huggingface")
    module.HuggingFaceEmbedding = lambda _: EmbeddingOf(embedder)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def executed(source):
    """Run an example; return its names."""
    made = {"__name__": "example"}
    exec(compile(source, "docs/llamaindex.md", "exec"), made)  # noqa: S102 (our own documentation)
    return made


@pytest.fixture(scope="module")
def towers(stack):
    """Fill a collection with more passages than are asked for."""
    in_database(stack.dsn, lambda database: index(database, stack.embedder, {**TEXTS, **FACTS}, name="towers"))
    stack.fresh(default=Reply(text="So it is [1]."))
    return stack


def asked(http, mode, path="/query", **body):
    key = "message" if path == "/chat" else "question"
    sent = {key: QUESTION, "collection": "towers", "mode": mode, "min_score": 0, "near_duplicates": "keep", **body}
    return http.post(path, json=sent).raise_for_status().json()


def test_the_documented_query_engine_answers_with_few_passages(towers, monkeypatch):
    monkeypatch.setattr(registry, "ENGINES", {**registry.ENGINES, "brief": executed(example("brief.py"))["build"]})
    with towers.serve() as http:
        assert len(asked(http, "brief", k=8, join_neighbours=False)["citations"]) == 3
        assert len(asked(http, "hybrid", k=8, join_neighbours=False)["citations"]) == 8


@pytest.mark.parametrize("k", [3, 8])
@pytest.mark.parametrize("joins", [True, False])
def test_the_documented_chat_engine_cites_k_passages(towers, monkeypatch, k, joins):
    monkeypatch.setattr(
        registry, "CHAT_ENGINES", {**registry.CHAT_ENGINES, "stock": executed(example("stock.py"))["build"]}
    )
    with towers.serve() as http:
        answer = asked(http, "stock", "/chat", k=k, join_neighbours=joins)
    assert [citation["id"] for citation in answer["citations"]] == list(range(1, k + 1))


@pytest.mark.parametrize("retriever", [lambda parts: StoreRetriever(parts, mode="hybrid"), FusionRetriever])
@pytest.mark.parametrize("near_duplicates", ["drop", "keep"])
def test_a_stock_query_engine_over_our_retriever_answers_with_k(towers, monkeypatch, retriever, near_duplicates):
    def build(parts):
        synthesizer = get_response_synthesizer(llm=GuardedLLM(parts.model), use_async=True)
        return RetrieverQueryEngine(retriever(parts), response_synthesizer=synthesizer)

    monkeypatch.setattr(registry, "ENGINES", {**registry.ENGINES, "stock": build})
    with towers.serve(engines={"fusion_queries": 0}) as http:
        assert len(asked(http, "stock", k=3, near_duplicates=near_duplicates)["citations"]) == 3


async def test_the_stock_store_reads_a_german_collection_by_its_words(settings, database, embedder, monkeypatch):
    chunking = Chunking(tokens=256, overlap=32, language="german")
    made = await Collections(database).ensure("default", embedding=embedder.identity, chunking=chunking)
    await index(database, embedder, {"haus.md": "Die Häuser der Fischer sind rot."})
    url = settings.database.url.get_secret_value().removeprefix("postgresql://")
    source = example("PGVectorStore.from_params", **{"user:password@host:5432/name": url, '"english"': '"german"'})
    source = source.replace('table_name="generation_1"', f'table_name="generation_{made.id}"')
    embed_by(embedder, monkeypatch)
    example_made = await asyncio.to_thread(executed, source)
    assert [found.node.metadata["source"] for found in example_made["nodes"]] == ["haus.md"]
    sparse = example_made["index"].as_retriever(vector_store_query_mode="sparse", similarity_top_k=5)
    assert len(await sparse.aretrieve("Haus")) == 1
    await example_made["store"].close()


async def test_the_documented_store_writes_finds_and_deletes(settings, database, embedder, monkeypatch, capsys):
    await index(database, embedder)
    url = settings.database.url.get_secret_value().removeprefix("postgresql://")
    source = example("ChunkStore(database", **{"user:password@host:5432/name": url})
    embed_by(embedder, monkeypatch)
    await asyncio.to_thread(executed, source)
    assert capsys.readouterr().out.splitlines()[0].endswith("ferry The ferry leaves at noon.")
    assert "ferry" not in {each.id for each in await _documents(database)}


async def _documents(database):
    return (await DocumentCatalog(database).list(collection="default", limit=100)).items
