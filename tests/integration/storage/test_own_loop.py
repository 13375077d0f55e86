"""Calls into the database's event loop from elsewhere."""

import asyncio
import threading
import time
from contextvars import ContextVar

import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import QueryFusionRetriever
from support.corpus import DIMENSION, fill, make_collection

from config.settings import RetrievalSettings
from storage import own_loop
from storage.errors import LoopBusy
from storage.vector_store import ChunkStore

ASKER = ContextVar("asker", default="nobody")


@pytest.fixture
async def store(database):
    generation = await make_collection(database)
    await fill(database, generation, {"a": ("some text", {})})
    return ChunkStore(database, generation=generation, settings=RetrievalSettings())


async def test_calls_from_many_threads_and_loops_are_answered(store):
    def ask(number):
        return len(asyncio.run(store.aget_nodes()) if number % 2 else store.get_nodes())

    assert await asyncio.gather(*(asyncio.to_thread(ask, number) for number in range(20))) == [1] * 20


async def test_a_loop_that_its_caller_blocks_is_an_error_after_a_while_and_no_deadlock(store, monkeypatch):
    monkeypatch.setattr(own_loop, "PATIENCE", 0.3)
    over = VectorStoreIndex.from_vector_store(store, embed_model=MockEmbedding(DIMENSION))
    fused = QueryFusionRetriever([over.as_retriever()] * 2, llm=MockLLM(), num_queries=1, use_async=True)
    with pytest.raises(LoopBusy, match="a sync call on it waits"):
        fused.retrieve("text")  # on the loop: it starts another in a thread, and waits for it
    assert len(await store.aget_nodes()) == 1


def test_a_loop_that_ended_is_an_error_at_once():
    loop = asyncio.new_event_loop()
    loop.close()

    async def work():
        return 1

    with pytest.raises(LoopBusy):
        own_loop.run(loop, work())
    with pytest.raises(LoopBusy):
        asyncio.run(own_loop.awaited(loop, work()))


async def test_what_was_cancelled_elsewhere_is_cancelled_here():
    ended = threading.Event()
    begun = threading.Event()

    async def work():
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    here = asyncio.get_running_loop()

    async def elsewhere():
        task = asyncio.create_task(own_loop.awaited(here, work()))
        assert await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert await asyncio.to_thread(ended.wait, 5)


async def test_the_callers_context_comes_along():
    here = asyncio.get_running_loop()

    async def work():
        return ASKER.get()

    def ask():
        ASKER.set("somebody")
        return own_loop.run(here, work()), asyncio.run(own_loop.awaited(here, work()))

    assert await asyncio.to_thread(ask) == ("somebody", "somebody")


async def test_a_call_that_takes_longer_than_the_patience_is_waited_for(monkeypatch):
    monkeypatch.setattr(own_loop, "PATIENCE", 0.05)
    here = asyncio.get_running_loop()

    async def work():
        await asyncio.sleep(0.3)
        return time.monotonic()

    assert await asyncio.to_thread(own_loop.run, here, work())
    assert await asyncio.to_thread(lambda: asyncio.run(own_loop.awaited(here, work())))
