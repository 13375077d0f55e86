"""Vectors of questions that are kept: in memory, and in a real Redis, whatever that holds and however it fares."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from support.redis_server import start_redis

from config.settings import RedisSettings, SettingsError
from server.caches.redis_vectors import RedisVectors, bytes_of, vector_in
from server.caches.vectors import ENTRY_BYTES, QuestionVectors, key_of
from server.redis_link import OPEN_SECONDS, Outage, RedisLink, open_redis_link
from storage.generation import EmbeddingIdentity

IDENTITY = EmbeddingIdentity("m", "r", "f" * 32, 8, normalized=True, options={"quantization": "none"})
ENTRY = 8 * 4 + ENTRY_BYTES


class Counting:
    """A model that gives each text a vector of its own, and counts."""

    def __init__(self, identity=IDENTITY):
        self.identity = identity
        self.asked = []

    async def query(self, text):
        self.asked.append(text)
        seed = [*text.encode(errors="surrogatepass"), *self.identity.fingerprint.encode()]
        vector = np.random.default_rng(seed).normal(size=self.identity.dimension).astype(np.float32)
        return vector / np.linalg.norm(vector)


@pytest.fixture
def redis():
    with start_redis() as server:
        yield server


@pytest.fixture
async def client(redis):
    opened = Redis.from_url(redis.url)
    yield opened
    await opened.aclose()


def linked(redis, *, timeout=0.5, **values):
    return RedisLink(RedisSettings(url=redis.url, lookup_timeout=timeout), **values)


async def stored(client):
    """Return the only key in Redis, once it is there."""
    (key,) = await told(lambda: client.keys("*"))
    return key


async def told(look, *, wanted=bool):
    """Return what a look gives, once it is what is wanted."""
    for _ in range(500):
        if wanted(seen := await look()):
            return seen
        await asyncio.sleep(0.01)
    raise AssertionError(seen)


async def test_the_same_words_are_embedded_once_and_no_others_get_their_vector():
    vectors, model = QuestionVectors(max_bytes=10_000), Counting()
    texts = ["a", "a ", "A", "é", "e\u0301", "", "\ud800"]
    first = [await vectors.of(text, embedder=model) for text in texts]
    again = [await vectors.of(text, embedder=model) for text in texts]
    assert model.asked == texts
    for one, other, text in zip(first, again, texts, strict=True):
        assert np.array_equal(one, other)
        assert np.array_equal(one, await Counting().query(text))


@pytest.mark.parametrize("change", [{"fingerprint": "e" * 32}, {"model": "other"}, {"dimension": 9}])
def test_whatever_changes_vectors_changes_the_key(change):
    assert key_of("a", IDENTITY) != key_of("a", replace(IDENTITY, **change))
    assert key_of("a", IDENTITY) == key_of("a", replace(IDENTITY))


async def test_another_model_has_vectors_of_its_own():
    vectors = QuestionVectors(max_bytes=10_000)
    one, other = Counting(), Counting(replace(IDENTITY, fingerprint="e" * 32))
    first, second = await vectors.of("a", embedder=one), await vectors.of("a", embedder=other)
    assert not np.allclose(first, second)
    assert other.asked == ["a"]


async def test_as_many_bytes_are_kept_as_are_set_and_what_is_asked_for_stays_longest():
    vectors, model = QuestionVectors(max_bytes=3 * ENTRY), Counting()
    for text in ("a", "b", "c", "a", "d", "a", "b"):
        await vectors.of(text, embedder=model)
    assert model.asked == ["a", "b", "c", "d", "b"]


@pytest.mark.parametrize("max_bytes", [0, ENTRY - 1])
async def test_with_no_room_each_question_is_embedded(max_bytes):
    vectors, model = QuestionVectors(max_bytes=max_bytes), Counting()
    for _ in range(2):
        await vectors.of("a", embedder=model)
    assert model.asked == ["a", "a"]


async def test_a_kept_vector_cannot_be_changed_by_who_gets_it():
    vectors, model = QuestionVectors(max_bytes=10_000), Counting()
    with pytest.raises(ValueError, match="read-only"):
        (await vectors.of("a", embedder=model))[0] = 9


async def test_a_failure_of_the_model_is_not_kept():
    class Failing(Counting):
        async def query(self, text):
            await super().query(text)
            raise RuntimeError

    vectors = QuestionVectors(max_bytes=10_000)
    with pytest.raises(RuntimeError):
        await vectors.of("a", embedder=Failing())
    model = Counting()
    await vectors.of("a", embedder=model)
    assert model.asked == ["a"]


async def test_the_real_model_s_vector_comes_back_bit_for_bit(redis, client, embedder):
    question = "Who built the lighthouse?"
    expected = await embedder.query(question)
    for _ in range(2):
        link = linked(redis)
        vector = await QuestionVectors(max_bytes=0, shared=RedisVectors(link)).of(question, embedder=embedder)
        assert np.array_equal(vector, expected)
        await stored(client)
        await link.close()


async def test_replicas_share_vectors_through_redis_and_no_text_is_in_it(redis, client):
    one, other, model = linked(redis), linked(redis), Counting()
    first = await QuestionVectors(max_bytes=10_000, shared=RedisVectors(one)).of("private words", embedder=model)
    key = await stored(client)
    second = await QuestionVectors(max_bytes=10_000, shared=RedisVectors(other)).of("private words", embedder=model)
    assert model.asked == ["private words"]
    assert np.array_equal(first, second)
    assert b"private" not in key + await client.get(key)
    assert 0 < await client.pttl(key) <= 604_800_000
    await one.close()
    await other.close()


RIGHT = np.eye(1, 8, dtype=np.float32)[0]


@pytest.mark.parametrize(
    "poison",
    [
        b"",
        b"x",
        b"\0" * 36,
        bytes_of(RIGHT)[:-1],
        bytes_of(RIGHT) + b"\0",
        b"\0\0\0\0" + RIGHT.tobytes(),
        bytes_of(np.eye(1, 9, dtype=np.float32)[0]),
        bytes_of(RIGHT * np.float32(np.nan)),
        bytes_of(np.full(8, np.inf, dtype=np.float32)),
        bytes_of(RIGHT * 2),
        bytes_of(RIGHT * 0),
        b"\xff" * 100_000,
    ],
)
async def test_what_is_no_vector_of_this_model_is_not_believed_and_is_replaced(redis, client, poison):
    link, model = linked(redis), Counting()
    vectors = QuestionVectors(max_bytes=0, shared=RedisVectors(link))
    expected = await vectors.of("a", embedder=model)
    key = await stored(client)
    await client.set(key, poison)
    assert np.array_equal(await vectors.of("a", embedder=model), expected)
    assert model.asked == ["a", "a"]
    assert link.trouble is None
    await told(lambda: client.get(key), wanted=lambda content: content == bytes_of(expected))
    await link.close()


def test_a_vector_of_any_length_is_one_where_the_model_does_not_normalise():
    assert vector_in(bytes_of(RIGHT * 2), IDENTITY) is None
    assert np.array_equal(vector_in(bytes_of(RIGHT * 2), replace(IDENTITY, normalized=False)), RIGHT * 2)


async def test_a_key_that_holds_a_list_is_as_good_as_none(redis, client):
    link, model = linked(redis), Counting()
    vectors = QuestionVectors(max_bytes=0, shared=RedisVectors(link))
    await vectors.of("a", embedder=model)
    key = await stored(client)
    await client.delete(key)
    await client.rpush(key, "x")
    assert np.array_equal(await vectors.of("a", embedder=model), await Counting().query("a"))
    await link.close()


async def test_a_redis_that_hangs_costs_one_wait_and_then_nothing_for_a_while(redis):
    clock = [0.0]
    link = linked(redis, timeout=0.1, clock=lambda: clock[0])
    vectors, model = QuestionVectors(max_bytes=0, shared=RedisVectors(link)), Counting()
    await vectors.of("a", embedder=model)
    with redis.frozen():
        began = time.monotonic()
        await vectors.of("b", embedder=model)
        assert time.monotonic() - began >= 0.1
        assert "TimeoutError" in link.trouble
        calls = link._calls.copy()
        for _ in range(50):
            await vectors.of("c", embedder=model)
        assert link._calls <= calls  # nothing more was asked of it
        assert not await link.ping()
    clock[0] += OPEN_SECONDS + 1
    assert np.array_equal(await vectors.of("b", embedder=model), await Counting().query("b"))
    assert link.trouble is None
    await link.close()


async def test_a_failure_of_streams_keeps_questions_from_waiting_for_redis_too(redis):
    clock = [0.0]
    link = linked(redis, timeout=10, clock=lambda: clock[0])
    vectors, model = QuestionVectors(max_bytes=0, shared=RedisVectors(link)), Counting()
    await link.ping()
    streams = Outage(link, "streams stay here")
    streams.noticed(ResponseError("OOM command not allowed"))  # Redis does answer
    assert not link.is_open
    with redis.frozen():
        streams.noticed(TimeoutError())
        async with asyncio.timeout(5):
            await vectors.of("a", embedder=model)
    streams.over()  # but it may still be too slow for questions
    assert link.is_open
    assert "TimeoutError" in link.trouble
    clock[0] += OPEN_SECONDS
    assert not link.is_open
    await vectors.of("a", embedder=model)
    assert link.trouble is None
    await link.close()


async def test_a_redis_that_dies_and_comes_back_is_used_again(redis, client):
    link, model = linked(redis), Counting()
    vectors = QuestionVectors(max_bytes=0, shared=RedisVectors(link))
    redis.kill()
    await vectors.of("a", embedder=model)
    assert not await link.ping()
    assert "questions are embedded here" in link.trouble
    redis.start()
    assert await link.ping()
    await vectors.of("a", embedder=model)
    assert await stored(client)
    await link.close()


async def test_a_question_that_is_given_up_while_redis_hangs_ends_at_once(redis):
    link = linked(redis, timeout=10)
    await link.ping()
    with redis.frozen():
        asking = asyncio.create_task(
            QuestionVectors(max_bytes=0, shared=RedisVectors(link)).of("a", embedder=Counting())
        )
        await asyncio.sleep(0.1)
        asking.cancel()
        done, _ = await asyncio.wait({asking}, timeout=5)
        assert done == {asking}
        assert asking.cancelled()
        await link.close()
    assert link.trouble is None


async def test_a_redis_that_wants_another_password_fails_no_question():
    with start_redis(password="right") as server:
        link = RedisLink(RedisSettings(url=server.url.replace("right", "wrong"), lookup_timeout=1))
        model = Counting()
        await QuestionVectors(max_bytes=0, shared=RedisVectors(link)).of("a", embedder=model)
        assert model.asked == ["a"]
        assert not await link.ping()
        assert "wrong" not in link.trouble
        await link.close()


@pytest.mark.parametrize("url", ["redis://host:none/0", "redis://host/0?made_up=1"])
async def test_an_address_that_is_none_is_told_at_the_start_without_quoting_it(url):
    with pytest.raises(SettingsError, match="FOOTNOTE_REDIS__URL") as caught:
        async with open_redis_link(RedisSettings(url=url)):
            pass
    assert "host" not in str(caught.value).replace("redis://host:6379/0", "")
