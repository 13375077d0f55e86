"""The list of models, which is that of the collections, and the embedding model."""

from __future__ import annotations

import base64
import struct
from typing import Any

import httpx
import openai
import pytest
from support.openai_clients import EMBEDDING_MODEL, MODEL, connect, connect_async
from support.scripted import NOW, Hang, Make, ScriptedCollectionCatalog, Serve

from storage.collections.collections import CollectionInfo
from storage.cursors import Page, decode_cursor, encode_cursor


class ManyCollections(ScriptedCollectionCatalog):
    """More than a page of them."""

    async def list(self, *, limit: int, cursor: str | None) -> Page[CollectionInfo]:
        names = [f"c{n:04}" for n in range(2500)]
        left = [name for name in names if name > decode_cursor(cursor)]
        page = tuple(CollectionInfo(name, "1", 0, 0, "m", 384, "english", 256, "t", NOW) for name in left[:limit])
        return Page(page, encode_cursor(page[-1].name) if len(left) > limit else None)


def test_collections_are_models_and_so_is_the_embedding_model(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        models = list(connect(server.url).models.list())
    assert [(model.id, model.object, model.owned_by) for model in models] == [
        (MODEL, "model", "footnote"),
        ("footnote/none", "model", "footnote"),
        (EMBEDDING_MODEL, "model", "footnote"),
    ]
    assert models[0].created == int(NOW.timestamp())


def test_every_collection_is_listed_since_the_protocol_has_no_pages(scripted: Make, serve: Serve) -> None:
    made = scripted()
    made.runtime.collection_catalog = ManyCollections()
    with serve(made.app) as server:
        models = list(connect(server.url).models.list())
    assert len(models) == 2502
    assert models[2499].id == "footnote/c2499"


@pytest.mark.parametrize(("asked", "found"), [(MODEL, MODEL), ("default", MODEL), (EMBEDDING_MODEL, EMBEDDING_MODEL)])
def test_a_model_is_found_by_its_name(scripted: Make, serve: Serve, asked: str, found: str) -> None:
    with serve(scripted().app) as server:
        assert connect(server.url).models.retrieve(asked).id == found  # which writes the slash as %2F
        assert httpx.get(f"{server.url}/v1/models/{asked}").json()["id"] == found


@pytest.mark.parametrize("asked", ["gpt-4o", "footnote/nope", "text-embedding-3-small", "a/b/c", "a%00b"])
def test_a_model_that_is_not_there_is_not_found(scripted: Make, serve: Serve, asked: str) -> None:
    with serve(scripted().app) as server, pytest.raises(openai.APIStatusError) as caught:
        connect(server.url).models.retrieve(asked)
    assert (caught.value.status_code, caught.value.param) == (404, "model")


@pytest.mark.parametrize("options", [{}, {"encoding_format": "float"}, {"encoding_format": "base64"}])
def test_texts_are_embedded_in_their_order(scripted: Make, serve: Serve, options: Any) -> None:
    texts = ["bbbb bbbb", "a", "cc cc cc cc cc"]  # the model gets the short ones first
    with serve(scripted().app) as server:
        made = connect(server.url).embeddings.create(model=EMBEDDING_MODEL, input=texts, **options)
    assert [vector.index for vector in made.data] == [0, 1, 2]
    vectors = [unpacked(vector.embedding) for vector in made.data]
    assert [vector[0] for vector in vectors] == [len(text) for text in texts]
    assert vectors[0][1] == pytest.approx(0.1)
    assert {len(vector) for vector in vectors} == {384}
    assert made.model == EMBEDDING_MODEL


def unpacked(embedding: Any) -> list[float]:
    return list(struct.unpack("<384f", base64.b64decode(embedding))) if isinstance(embedding, str) else embedding


async def test_one_text_and_the_async_client_work_too(scripted: Make, serve: Serve) -> None:
    with serve(scripted().app) as server:
        async with connect_async(server.url) as client:
            made = await client.embeddings.create(model=EMBEDDING_MODEL, input="one text", dimensions=384)
    assert len(made.data) == 1
    assert len(made.data[0].embedding) == 384


def test_tokens_are_those_that_the_model_read_and_what_it_did_not_read_is_told(scripted: Make, serve: Serve) -> None:
    texts = ["a port", "word " * 1000, "a"]
    with serve(scripted().app) as server:
        made = connect(server.url).embeddings.create(model=EMBEDDING_MODEL, input=texts)
    assert made.usage.prompt_tokens == made.usage.total_tokens == 4 + 256 + 3
    assert made.footnote["truncated"] == [1]  # type: ignore[attr-defined]
    assert made.footnote["max_tokens"] == 256  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "prompt"), [(None, "text"), ({"input_type": "passage"}, "text"), ({"input_type": "query"}, "query")]
)
def test_questions_can_be_embedded_as_questions(
    scripted: Make, serve: Serve, options: dict[str, str] | None, prompt: str
) -> None:
    made = scripted()
    with serve(made.app) as server:
        extra = {"footnote": options}
        connect(server.url).embeddings.create(model=EMBEDDING_MODEL, input=["x"], extra_body=extra)
    assert made.runtime.embedder.calls == [(prompt, ["x"])]


def test_as_many_texts_as_the_protocol_allows_are_taken(scripted: Make, serve: Serve) -> None:
    made = scripted()
    with serve(made.app) as server:
        answer = connect(server.url).embeddings.create(
            model=EMBEDDING_MODEL, input=["x" * (n % 9 + 1) for n in range(2048)]
        )
    assert [vector.embedding[0] for vector in answer.data] == [n % 9 + 1 for n in range(2048)]
    assert max(len(texts) for _, texts in made.runtime.embedder.calls) <= 64


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"input": [1, 2, 3]}, "input", "check_embedding_ctx_length"),
    ({"input": [[1, 2], [3]]}, "input", "check_embedding_ctx_length"),
    ({"input": []}, "input", "at least 1"),
    ({"input": ""}, "input[0]", "at least 1"),
    ({"input": ["a", ""]}, "input[1]", "at least 1"),
    ({"input": ["a", 3]}, "input[1]", "string"),
    ({"input": None}, "input", "list"),
    ({"input": "a\0"}, "input[0]", "NUL"),
    ({"input": "a" * 100_001}, "input[0]", "at most 100000"),
    ({"input": ["a"] * 2049}, "input", "at most 2048"),
    ({"dimensions": 256}, "dimensions", "384"),
    ({"dimensions": "384"}, "dimensions", "number"),
    ({"encoding_format": "int8"}, "encoding_format", "base64"),
    ({"footnote": {"input_type": "document"}}, "footnote.input_type", "passage"),
    ({"footnote": {"k": 3}}, "footnote.k", "no field"),
]


@pytest.mark.parametrize(("fields", "param", "reason"), REFUSED, ids=[str(entry)[:60] for entry in REFUSED])
def test_what_cannot_be_embedded_is_refused_by_its_name(
    scripted: Make, serve: Serve, fields: dict[str, Any], param: str, reason: str
) -> None:
    made = scripted()
    with serve(made.app) as server, pytest.raises(openai.BadRequestError) as caught:
        connect(server.url).embeddings.create(model=EMBEDDING_MODEL, input="x", extra_body=fields)
    assert caught.value.param == param
    assert reason in caught.value.message
    assert made.runtime.embedder.calls == []


@pytest.mark.parametrize("model", ["text-embedding-3-small", "text-embedding-ada-002", MODEL, "default"])
def test_another_embedding_model_is_not_found_and_the_right_one_is_named(
    scripted: Make, serve: Serve, model: str
) -> None:
    with serve(scripted().app) as server, pytest.raises(openai.NotFoundError) as caught:
        connect(server.url).embeddings.create(model=model, input="x")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert EMBEDDING_MODEL in caught.value.message


def test_a_client_that_leaves_ends_its_list(scripted: Make, serve: Serve) -> None:
    made = scripted()
    made.runtime.embedder.step = Hang()
    with serve(made.app) as server:
        with pytest.raises(openai.APITimeoutError):
            connect(server.url, timeout=2).embeddings.create(model=EMBEDDING_MODEL, input=["x"] * 200)
        made.runtime.embedder.step = None
        connect(server.url).embeddings.create(model=EMBEDDING_MODEL, input="y")  # its turn was given back
    assert [len(texts) for _, texts in made.runtime.embedder.calls] == [64, 1]
