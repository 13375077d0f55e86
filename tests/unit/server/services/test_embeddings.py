"""Lists of texts in small pieces, so that questions get in between."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import ScriptedEmbedder

from config.settings import Settings
from embedding.cache import Embedders
from embedding.errors import EmbeddingFailed
from server.errors import ModelNotFound
from server.services.embeddings import PIECE_TEXTS, PIECE_TOKENS, EmbeddingModels, EmbeddingService, _pieces

LONG = "word " * 300  # more than the model reads


class SlowEmbedder(ScriptedEmbedder):
    """Notes how many calls wait for the model at once."""

    waiting = 0
    most = 0

    def __init__(self):
        super().__init__()
        self.called = asyncio.Event()

    async def texts(self, texts):
        self.called.set()
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        await asyncio.sleep(0.001)
        self.waiting -= 1
        return await super().texts(texts)


@given(st.lists(st.integers(1, 256), max_size=300))
def test_every_text_is_in_one_piece_and_no_piece_is_too_much(lengths):
    pieces = list(_pieces(np.array(lengths, dtype=np.int64)))
    assert sorted(index for piece in pieces for index in piece) == list(range(len(lengths)))
    for piece in pieces:
        assert len(piece) <= PIECE_TEXTS
        assert len(piece) * max(lengths[index] for index in piece) <= PIECE_TOKENS


def test_a_text_that_is_more_than_a_piece_is_one_by_itself():
    assert list(_pieces(np.array([9000, 3, 9000]))) == [[1], [0], [2]]


async def test_lists_take_turns_with_one_call_at_a_time():
    embedder = SlowEmbedder()
    service = EmbeddingService(embedder)
    await service.embed(["the tokenizer is loaded"])
    embedder.calls.clear()
    await asyncio.gather(*(service.embed([f"{name} {LONG}"] * 120) for name in "abc"))
    assert embedder.most == 1
    order = "".join(texts[0][0] for _, texts in embedder.calls)
    assert order.count("a") == order.count("b") == order.count("c") > 10
    assert max(order.index(name) for name in "abc") < min(order.rindex(name) for name in "abc")


async def test_a_list_that_fails_or_is_cancelled_gives_its_turn_back():
    embedder = SlowEmbedder()
    service = EmbeddingService(embedder)
    cancelled = asyncio.create_task(service.embed([LONG] * 40))
    await embedder.called.wait()
    cancelled.cancel()
    embedder.step = EmbeddingFailed("no")
    with pytest.raises(EmbeddingFailed):
        await service.embed(["a"])
    embedder.step = None
    assert (await service.embed(["b"])).vectors.shape == (1, 384)


async def test_tokens_are_counted_up_to_what_the_model_reads():
    embedded = await EmbeddingService(ScriptedEmbedder()).embed(["one two", LONG, ""])
    assert embedded.tokens == 4 + 256 + 2
    assert embedded.truncated == (1,)


async def test_a_local_model_that_is_asked_for_by_name_stays_open_though_no_generation_uses_it():
    settings = Settings(_env_file=None, embeddings={"small": {}})
    embedders = Embedders(settings)
    models = EmbeddingModels(ScriptedEmbedder(), others={"small": settings.embeddings["small"]}, embedders=embedders)
    assert models.names == ("all-MiniLM-L6-v2", "small")
    service = await models.named("small")
    assert service.model == "small"
    assert embedders.give_up_others(set()) == []
    assert (await service.embed(["one"])).vectors.shape == (1, 384)
    assert await models.named("small") is service
    with pytest.raises(ModelNotFound, match="'all-MiniLM-L6-v2' and 'small'"):
        await models.named("default")
    await asyncio.to_thread(embedders.close)
