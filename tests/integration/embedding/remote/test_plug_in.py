"""A LlamaIndex embedding class by configuration: on threads, under deadlines, known again like any remote model."""

import asyncio
import sys
import threading
import time
import types

import numpy as np
import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from support.embedding_server import EmbeddingServer

from config.settings import EmbeddingSettings
from embedding.errors import EmbeddingFailed, EmbeddingModelNotFound, EmbeddingUnavailable
from embedding.remote.opening import open_remote
from embedding.remote.probes import PROBES
from storage.errors import EmbeddingMismatch

HELD = threading.Event()
STATE = {"seed": 1, "error": None, "sleep": 0.0, "threads": set()}


class Refused(Exception):
    def __init__(self, status_code):
        super().__init__("secret text, quoted")
        self.status_code = status_code


def _vector(text):
    STATE["threads"].add(threading.current_thread())
    if STATE["error"] is not None and "POISON" in text:
        raise STATE["error"]
    if "HANG" in text:
        HELD.wait(30)
    time.sleep(STATE["sleep"])
    made = EmbeddingServer()
    made.seed = STATE["seed"]
    return made.vector(text)


class Plain(BaseEmbedding):
    """As a user writes one: synchronous, and its async methods are LlamaIndex's."""

    size: int = 0
    key: str = ""

    def _get_query_embedding(self, query):
        return _vector(query)

    def _get_text_embedding(self, text):
        return _vector(text)

    async def _aget_query_embedding(self, query):
        return self._get_query_embedding(query)


class Async(BaseEmbedding):
    """Has async methods only."""

    def _get_query_embedding(self, query):
        raise NotImplementedError

    _get_text_embedding = _get_query_embedding

    async def _aget_query_embedding(self, query):
        await asyncio.sleep(0)
        return np.array(_vector(query))

    async def _aget_text_embedding(self, text):
        return await self._aget_query_embedding(text)


class Odd(Plain):
    """Returns what is no vector."""

    def _get_query_embedding(self, _query):
        return None

    def _get_text_embeddings(self, texts):
        return 5 if "WHAT" in texts[0] else [_vector(text) for text in texts]


class NoEmbedding:
    pass


@pytest.fixture(autouse=True)
def _module(monkeypatch):
    module = types.ModuleType("their_package.embeddings")
    for each in (Plain, Async, Odd, NoEmbedding):
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, "their_package", types.ModuleType("their_package"))
    monkeypatch.setitem(sys.modules, "their_package.embeddings", module)
    STATE.update(seed=1, error=None, sleep=0.0, threads=set())
    HELD.clear()
    yield
    HELD.set()


def opened(name="Plain", **changes):
    return open_remote(EmbeddingSettings(class_=f"their_package.embeddings.{name}", **changes))


@pytest.mark.parametrize("name", ["Plain", "Async"])
async def test_a_class_gives_unit_vectors_with_prefixes_from_other_threads(name):
    model = opened(name, query_instruction="query: ", text_instruction="passage: ")
    question, passages = await model.query("what"), await model.texts(["this", "that"])
    for made, text in zip([question, *passages], ["query: what", "passage: this", "passage: that"], strict=True):
        wanted = np.array(EmbeddingServer().vector(text))
        np.testing.assert_allclose(made, wanted / np.linalg.norm(wanted), atol=1e-5)
    assert threading.current_thread() not in STATE["threads"]
    assert model.identity.model == name
    assert model.identity.revision == f"their_package.embeddings.{name}"
    model.close()


async def test_a_class_that_sleeps_does_not_hold_up_the_event_loop():
    model = opened()
    STATE["sleep"] = 0.2
    call = asyncio.create_task(model.texts([f"text {number}" for number in range(5)]))
    longest = 0.0
    while not call.done():
        began = time.perf_counter()
        await asyncio.sleep(0.005)
        longest = max(longest, time.perf_counter() - began)
    assert (await call).shape == (5, 32)
    assert longest < 0.2
    model.close()


async def test_calls_that_never_return_lose_their_threads_and_when_all_are_lost_the_class_says_so():
    model = opened(concurrency=2, question_timeout=0.2, timeout=0.2, max_retries=0)
    for _ in range(2):
        with pytest.raises(EmbeddingUnavailable, match="did not answer within"):
            await model.query("HANG")
        model._proved = time.monotonic()
    with pytest.raises(EmbeddingUnavailable, match="all 2 threads of Plain are in calls"):
        await model.query("what")
    assert "do not return" in (await model.trouble() or "")
    HELD.set()
    for _ in range(100):
        if await model.trouble() is None:
            break
        await asyncio.sleep(0.02)
    assert (await model.query("what")).shape == (32,)
    model.close()


@pytest.mark.parametrize(
    ("error", "raised", "words"),
    [
        (Refused(429), EmbeddingUnavailable, "limits our rate"),
        (Refused(401), EmbeddingUnavailable, "key"),
        (Refused(400), EmbeddingFailed, "400"),
        (ConnectionError("secret text"), EmbeddingUnavailable, "lost"),
        (ValueError("secret text, quoted"), EmbeddingFailed, "ValueError"),
        (StopIteration("secret"), EmbeddingFailed, "StopIteration|RuntimeError"),
        (SystemExit(3), EmbeddingFailed, "SystemExit"),
    ],
    ids=repr,
)
async def test_what_a_class_raises_is_named_and_its_words_are_not_shown(error, raised, words):
    model = opened(max_retries=0)
    STATE["error"] = error
    with pytest.raises(raised, match=words) as caught:
        await model.texts(["POISON"])
    assert "secret" not in str(caught.value)
    assert (await model.texts(["fine"])).shape == (1, 32)
    model.close()


async def test_what_is_no_vector_is_refused():
    model = opened("Odd")
    with pytest.raises(EmbeddingFailed):
        await model.query("what")
    with pytest.raises(EmbeddingFailed):
        await model.texts(["WHAT"])
    model.close()


async def test_another_model_behind_the_same_class_is_refused():
    one = opened()
    STATE["seed"] = 2
    other = opened()
    with pytest.raises(EmbeddingMismatch):
        await other.require(one.identity)
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("their_package.embeddings.NoEmbedding", {}, "is no llama_index"),
        ("their_package.embeddings.Nobody", {}, "has no class Nobody"),
        ("llama_index.embeddings.nobody.Nobody", {}, r"pip install llama-index-embeddings-nobody"),
        ("nobody_offers_this", {}, "entry point of footnote.embeddings"),
        ("their_package.embeddings.Plain", {"size": "s3cret"}, "see size"),
        ("their_package.embeddings.Plain", {"key": "${NOT_SET_ANYWHERE}"}, "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_a_class_that_cannot_be_made_is_refused_at_the_start_with_its_reason(name, arguments, words):
    with pytest.raises(EmbeddingModelNotFound, match=words) as caught:
        open_remote(EmbeddingSettings(class_=name, arguments=arguments))
    assert "s3cret" not in str(caught.value)


def test_a_class_whose_first_vector_fails_is_refused_at_the_start(monkeypatch):
    monkeypatch.setitem(PROBES, "en", "POISON")
    STATE["error"] = ValueError("secret")
    with pytest.raises(EmbeddingModelNotFound, match=r"cannot be used: the embedding class failed \(ValueError\)"):
        opened()
