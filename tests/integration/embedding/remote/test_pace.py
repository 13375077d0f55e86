"""What a slow server is sent: one that works on one request after the other, and on those that were given up, too."""

import asyncio
import time

import numpy as np
import pytest
import structlog
from support.embedding_server import Fault
from support.remote_model import opened

from embedding.errors import EmbeddingUnavailable
from embedding.remote.embedder import GenerationEmbedder
from embedding.remote.probes import PROBES

TEXTS = [f"text number {number}" for number in range(60)]


def assert_right(vectors, server, texts=TEXTS):
    wanted = np.array([server.vector(text) for text in texts])
    np.testing.assert_allclose(vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)


async def test_a_server_that_works_on_one_request_after_the_other_is_sent_each_text_once(server):
    with opened(server, concurrency=4, batch_size=10, timeout=1.2) as model:
        server.seconds_a_text = 0.05  # two at once take a second, four at once would be given up
        assert_right(await model.texts(TEXTS), server)
        assert model.slowed is None
    assert len(server.texts) == len(TEXTS)
    assert server.most_at_once == 1


async def test_requests_too_long_for_a_slow_server_are_made_shorter_and_little_is_sent_twice(server):
    with opened(server, concurrency=4, batch_size=30, timeout=1.3) as model, structlog.testing.capture_logs() as logs:
        server.seconds_a_text = 0.05  # 26 in time
        assert_right(await model.texts(TEXTS), server)
        assert model.slowed is not None
        assert model.slowed.startswith("slow: 1 of 4 requests at once, with ")
    assert len(TEXTS) + 30 <= len(server.texts) <= len(TEXTS) + 80
    assert [len(request["input"]) for request in server.requests][:3] == [30, 1, 15]
    (warned,) = [each for each in logs if each["log_level"] == "warning"]
    for setting in ("EMBEDDING__TIMEOUT", "EMBEDDING__CONCURRENCY", "EMBEDDING__BATCH_SIZE"):
        assert setting in warned["event"]
    assert (warned["concurrency"], warned["batch_size"]) == ("1 of 4", "15 of 30")


async def test_while_a_server_hangs_it_is_sent_single_texts_alone_and_afterwards_all_again(server):
    with opened(server, concurrency=4, batch_size=4, timeout=1) as model:
        server.always = Fault(delay=0.05)
        assert_right(await model.texts(TEXTS), server)
        assert server.most_at_once == 4
        server.requests.clear()
        server.always = None
        server.script(*[Fault(delay=1.5)] * 6)  # those under way, and two more
        assert_right(await model.texts(TEXTS), server)
        sizes = [len(request["input"]) for request in server.requests]
        assert sizes[:8] == [4, 4, 4, 4, 1, 1, 1, 2]
        server.always = Fault(delay=0.05)
        for _ in range(5):
            await model.texts(TEXTS)
        assert model.slowed is None
        assert [len(request["input"]) for request in server.requests][-5:] == [4] * 5


async def test_a_single_text_that_times_out_alone_fails_after_its_retries_and_says_what_to_change(server):
    with opened(server, timeout=0.1, max_retries=2) as model:
        server.always = Fault(delay=0.3)
        with pytest.raises(EmbeddingUnavailable, match=r"single text that was sent alone; raise EMBEDDING__TIMEOUT"):
            await model.texts(TEXTS)
    assert [len(request["input"]) for request in server.requests] == [32, 1, 1, 1]


async def test_a_gateway_that_waited_too_long_is_no_other_than_we(server):
    with opened(server, batch_size=8) as model:
        server.script(Fault(status=504))
        assert_right(await model.texts(TEXTS[:8]), server, TEXTS[:8])
    assert [len(request["input"]) for request in server.requests][:2] == [8, 1]


async def test_what_arrived_is_told_of_once_though_the_rest_fails(server):
    told = []

    async def tell(places, _vectors):
        told.extend(places)
        if len(told) >= 20:
            server.always = Fault(status=401)

    with opened(server, batch_size=8, timeout=0.3) as model:
        server.script(Fault(delay=0.6))
        with pytest.raises(EmbeddingUnavailable, match="key"):
            await model.texts(TEXTS, told=tell)
    assert 20 <= len(told) == len(set(told)) < len(TEXTS)


async def test_a_question_does_not_wait_for_passages(server):
    with opened(server, concurrency=1, batch_size=4) as model:
        server.script(Fault(delay=0.8))
        passages = asyncio.create_task(model.texts(TEXTS))
        async with asyncio.timeout(30):
            while not server.requests:  # noqa: ASYNC110 (the server is on another thread)
                await asyncio.sleep(0.01)
        began = time.monotonic()
        await model.query("what")
        assert time.monotonic() - began < 0.5
        assert_right(await passages, server)


async def test_a_slow_server_is_not_sent_the_fixed_texts_after_each_timeout(server):
    with opened(server, batch_size=8, timeout=0.3, question_timeout=0.3) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        server.script(Fault(delay=0.6))
        await model.texts(TEXTS)
        server.script(Fault(delay=0.6))
        with pytest.raises(EmbeddingUnavailable):
            await model.query("what")
        await model.query("what")
        await model.texts(TEXTS)
    assert not [text for request in server.requests for text in request["input"] if text in PROBES.values()]


async def test_a_look_at_a_server_that_did_not_answer_in_time_sends_a_single_text(server):
    with opened(server, question_timeout=0.3) as model:
        server.script(Fault(delay=0.6))
        with pytest.raises(EmbeddingUnavailable):
            await model.query("what")
        server.requests.clear()
        assert await model.trouble() is None
        assert await model.trouble() is None
    assert [len(request["input"]) for request in server.requests] == [1]


async def test_the_fixed_texts_take_their_turn_among_the_passages(server):
    with opened(server, concurrency=1, batch_size=4) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        base._doubt()
        server.always = Fault(delay=0.1)
        await asyncio.gather(*(model.texts(TEXTS) for _ in range(3)))
    asked = [text for request in server.requests for text in request["input"] if text in PROBES.values()]
    assert sorted(asked) == sorted(PROBES.values())
    assert server.most_at_once == 1
