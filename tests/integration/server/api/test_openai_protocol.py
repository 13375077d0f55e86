"""OpenAI's protocol over everything real but the language model, which is scripted, with the official clients."""

import asyncio
import threading
from dataclasses import replace

import httpx
import numpy as np
import openai
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from support.environment import make_settings
from support.events import ending, parse
from support.indexed import index
from support.model_server import PROMPT_TOKENS, Reply, start_model_server
from support.openai_clients import EMBEDDING_MODEL, MODEL, connect
from support.scripted import running

from config.settings import LLMSettings
from server.app import create_app
from server.runtime import open_runtime
from storage.collections.collections import Collections
from storage.generation import Chunking

TEXTS = {
    "lighthouse.md": "The lighthouse of Ostrava Bay was built in 1871 by the engineer Milada Novak.",
    "bread.md": "Sourdough bread rises for twelve hours before it is baked at 230 degrees.",
    "vacuum.md": "Autovacuum removes dead rows and keeps the planner's statistics fresh.",
}
METADATA = {source: {"lang": "en" if source == "bread.md" else "cs"} for source in TEXTS}
QUESTION = [{"role": "user", "content": "Who built the lighthouse of Ostrava Bay?"}]


@pytest.fixture(scope="module")
def model_server():
    with start_model_server() as server:
        yield server


@pytest.fixture
async def url(database, embedder, settings, model_server, monkeypatch):
    """Serve the real application; the embedding model is the session's, so that it is loaded once."""
    await index(database, embedder, TEXTS, metadata=METADATA)
    foreign = replace(embedder.identity, fingerprint="other")
    chunking = Chunking(tokens=256, overlap=32, language="english")
    await Collections(database).ensure("foreign", embedding=foreign, chunking=chunking)
    model_server.requests.clear()
    model_server.default = Reply(text="Milada Novak built it [1].")
    monkeypatch.setattr("server.runtime.open_embedder", lambda _: embedder)
    monkeypatch.setattr(embedder, "close", lambda: None)
    llm = {"provider": "openai_like", "base_url": model_server.openai_url, "api_key": "k", "model": "m"}
    chosen = make_settings(settings.database.url.get_secret_value(), settings.data_dir, llm=llm)
    with running(create_app(chosen, open_runtime=open_runtime)) as server:
        yield server.url


@pytest.fixture
def client(url):
    return connect(url)


def test_an_answer_cites_the_passage_that_it_stands_on(client):
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert answer.choices[0].message.content == "Milada Novak built it [1]."
    first = answer.choices[0].message.citations[0]
    assert (first["id"], first["source"], first["text"]) == (1, "lighthouse.md", TEXTS["lighthouse.md"])
    assert first["cited"]
    assert answer.footnote["model"] == "scripted-1"
    assert answer.usage.prompt_tokens == PROMPT_TOKENS


def test_a_stream_says_the_same(client):
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True, stream_options=options))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "Milada Novak built it [1]."
    assert chunks[-1].citations[0]["source"] == "lighthouse.md"
    assert chunks[-1].usage.prompt_tokens == PROMPT_TOKENS


def test_a_follow_up_is_searched_for_as_what_it_means(client, model_server):
    model_server.script(Reply(text="Who is the engineer of the lighthouse of Ostrava Bay?"), Reply(text="Novak [1]."))
    history = [*QUESTION, {"role": "assistant", "content": "An engineer [7]."}]
    system = {"role": "system", "content": "Answer like a pirate."}
    answer = client.chat.completions.create(
        model=MODEL, messages=[system, *history, {"role": "user", "content": "What was her name?"}]
    )
    assert answer.footnote["standalone_question"] == "Who is the engineer of the lighthouse of Ostrava Bay?"
    assert answer.choices[0].message.citations[0]["source"] == "lighthouse.md"
    assert answer.usage.prompt_tokens == 2 * PROMPT_TOKENS
    told = model_server.requests[-1].body["messages"]
    assert "Answer like a pirate." in told[0]["content"]
    assert [message["role"] for message in told] == ["system", "user", "assistant", "user"]
    assert "[7]" not in told[2]["content"]


def test_what_the_request_decides_reaches_the_model(client, model_server):
    client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0.3, max_tokens=33, stop=["END", "\n\n"])
    body = model_server.requests[-1].body
    assert body["temperature"] == pytest.approx(0.3)
    assert 33 in (body.get("max_tokens"), body.get("max_completion_tokens"))
    assert body["stop"] == ["END", "\n\n"]


def test_filters_hold(client):
    options = {"filters": {"filters": [{"key": "lang", "value": "en"}]}, "min_score": 0.0, "k": 5}
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, extra_body={"footnote": options})
    assert [citation["source"] for citation in answer.choices[0].message.citations] == ["bread.md"]


def test_with_nothing_found_no_model_is_asked_and_no_token_is_counted(client, model_server):
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, extra_body={"footnote": {"document_ids": ["no-such-document"]}}
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.footnote["finish_reason"] == "no_context"
    assert answer.choices[0].message.citations == []
    assert answer.usage.total_tokens == 0
    assert not model_server.requests


@pytest.mark.parametrize(
    ("model", "error"), [("footnote/nowhere", openai.NotFoundError), ("footnote/foreign", openai.ConflictError)]
)
def test_a_collection_that_cannot_answer_is_an_error_whole_and_streamed(client, model, error):
    for stream in (False, True):
        with pytest.raises(error):
            client.chat.completions.create(model=model, messages=QUESTION, stream=stream)


def test_a_mode_that_is_not_known_is_named(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=MODEL, messages=QUESTION, extra_body={"footnote": {"mode": "telepathy"}})
    assert caught.value.param == "footnote.mode"
    assert "hybrid" in caught.value.message


@pytest.mark.parametrize("fault", ["cut", "no-finish", "error-event", "garbage"])
def test_a_model_that_fails_on_the_way_raises_the_client_s_error(client, model_server, fault):
    model_server.default = Reply(fault=fault)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert caught.value.code == "model-failed"
    with pytest.raises(openai.APIError) as streamed:
        list(client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True))
    assert streamed.value.code == "model-failed"


def test_a_provider_s_rate_limit_is_told_as_one_at_every_door(url, client, model_server):
    model_server.default = Reply(fault="rate-limited", retry_after="33")
    with pytest.raises(openai.RateLimitError) as caught:
        client.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=QUESTION)
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "rate_limit_error")
    assert caught.value.response.headers["retry-after"] == "33"
    with pytest.raises(openai.RateLimitError) as streamed:
        client.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=QUESTION, stream=True)
    assert streamed.value.response.headers["retry-after"] == "33"
    body = {"question": QUESTION[0]["content"]}
    whole = httpx.post(f"{url}/query", json=body, timeout=30)
    assert (whole.status_code, whole.json()["type"]) == (429, "/problems/rate-limited")
    assert whole.headers["retry-after"] == "33"
    last = ending(parse(httpx.post(f"{url}/query/stream", json=body, timeout=30).text))
    assert (last.data["type"], last.data["retry_after"], last.data["retryable"]) == ("/problems/rate-limited", 33, True)
    ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ask", "arguments": body}}
    accept = {"Accept": "application/json, text/event-stream"}
    told = httpx.post(f"{url}/mcp", json=ask, headers=accept, timeout=30).text
    assert '"/problems/rate-limited"' in told
    assert '"isError":true' in told.replace(" ", "")


def test_closing_a_stream_hangs_up_on_the_model(client, model_server):
    before = model_server.disconnects
    model_server.default = Reply(text="word " * 500, delay=0.05)
    with client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    assert model_server.wait_for_disconnects(before + 1, timeout=5)


def test_the_models_are_the_collections(client):
    ids = [model.id for model in client.models.list()]
    assert ids == ["footnote/default", "footnote/foreign", "footnote/none", EMBEDDING_MODEL]
    assert client.models.retrieve("footnote/default").created > 1_700_000_000


@pytest.fixture
def llama_index(url):
    return OpenAILike(model=MODEL, api_base=f"{url}/v1", api_key="none", is_chat_model=True, max_retries=0)


async def test_llamaindex_s_own_client_talks_to_footnote(llama_index):
    messages = [
        ChatMessage(role="system", content="Be brief."),
        ChatMessage(role="user", content=QUESTION[0]["content"]),
    ]
    answer = await asyncio.to_thread(llama_index.chat, messages)
    assert answer.message.content == "Milada Novak built it [1]."
    assert answer.raw.choices[0].message.citations[0]["source"] == "lighthouse.md"
    assert answer.additional_kwargs["prompt_tokens"] == PROMPT_TOKENS
    assert (await llama_index.achat(messages)).message.content == answer.message.content
    assert (await llama_index.acomplete(QUESTION[0]["content"])).text == answer.message.content
    *_, last = await asyncio.to_thread(lambda: list(llama_index.stream_chat(messages)))
    assert last.message.content == answer.message.content
    assert last.raw.citations[0]["source"] == "lighthouse.md"
    pieces = [piece async for piece in await llama_index.astream_chat(messages)]
    assert "".join(piece.delta for piece in pieces) == answer.message.content
    streamed = [piece async for piece in await llama_index.astream_complete(QUESTION[0]["content"])]
    assert streamed[-1].text == answer.message.content


async def test_llamaindex_s_own_client_gets_errors_within_a_stream(llama_index, model_server):
    model_server.default = Reply(fault="cut")
    with pytest.raises(openai.APIError):
        [piece async for piece in await llama_index.astream_complete(QUESTION[0]["content"])]


async def test_embeddings_are_those_that_collections_are_made_of(client, embedder):
    texts = [*TEXTS.values(), "x" * 3000, "short"]
    expected = await embedder.texts(texts)
    for options in ({}, {"encoding_format": "float"}):
        made = await asyncio.to_thread(client.embeddings.create, model=EMBEDDING_MODEL, input=texts, **options)
        got = np.array([vector.embedding for vector in made.data])
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, atol=1e-5)  # batches of other lengths round otherwise


async def test_questions_do_not_wait_behind_a_long_list_of_texts(client, url):
    texts = ["The lighthouse keepers watch the sea at night. " * 20] * 120
    embedding = threading.Thread(target=client.embeddings.create, kwargs={"model": EMBEDDING_MODEL, "input": texts})
    embedding.start()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        for n in range(5):
            answer = await http.post("/retrieve", json={"question": f"Who built lighthouse number {n}?"})
            assert answer.status_code == 200
    assert embedding.is_alive()
    await asyncio.to_thread(embedding.join, 120)


def test_a_conversation_that_is_too_long_for_the_model_is_the_client_s_error(client, model_server):
    model_server.default = Reply(fault="context-length")
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as caught:
            client.chat.completions.create(model="footnote/none", messages=QUESTION, stream=stream)
        assert caught.value.code == "context_length_exceeded"
        assert "messages" in caught.value.message
        assert "k" not in caught.value.message.split()
    with pytest.raises(openai.InternalServerError) as rejected:
        client.chat.completions.create(model=MODEL, messages=QUESTION)
    assert rejected.value.code == "model-rejected"


def test_a_client_does_not_try_again_what_footnote_has_tried_again(client, model_server):
    model_server.default = Reply(fault="server-error")
    with pytest.raises(openai.InternalServerError) as caught:
        client.with_options(max_retries=2).chat.completions.create(model=MODEL, messages=QUESTION)
    assert len(model_server.requests) == LLMSettings().max_retries + 1 > 1
    assert caught.value.response.headers["x-should-retry"] == "false"
