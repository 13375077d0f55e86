"""Remote embedding models, against a server over real HTTP that fails in every way."""

import asyncio
import hashlib
import json
import time

import numpy as np
import pytest
from support.embedding_server import Fault, listening, start_embedding_server
from support.remote_model import opened

import embedding.remote.embedder
import embedding.remote.patience
from config.settings import EmbeddingSettings
from embedding.errors import EmbeddingFailed, EmbeddingModelNotFound, EmbeddingUnavailable
from embedding.remote.embedder import GenerationEmbedder
from embedding.remote.faults import TooLarge
from embedding.remote.opening import open_remote
from embedding.remote.probes import PROBES
from embedding.usage import Spent, counted_tokens
from storage.errors import EmbeddingMismatch


async def test_vectors_are_those_of_the_texts_in_their_order_and_of_length_one(server):
    texts = [f"text {'long ' * (number % 7)}{number}" for number in range(100)]
    with opened(server, batch_size=16) as model:
        made = await model.texts(texts)
    wanted = np.array([server.vector(text) for text in texts])
    np.testing.assert_allclose(made, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)
    assert made.dtype == np.float32
    assert all(len(request["input"]) <= 16 for request in server.requests)


@pytest.mark.parametrize("provider", ["openai", "openai_like", "ollama"])
async def test_each_protocol_carries_key_prefixes_and_dimensions(server, provider):
    url = server.ollama_url if provider == "ollama" else server.openai_url
    prefixes = {"query_instruction": "query: ", "text_instruction": "passage: "}
    with opened(server, provider=provider, base_url=url, api_key="s3cret", dimensions=16, **prefixes) as model:
        question, (passage,) = await model.query("what"), await model.texts(["that"])
    assert [request["input"] for request in server.requests] == [["query: what"], ["passage: that"]]
    assert all(request["dimensions"] == 16 for request in server.requests)
    assert server.headers[-1]["Authorization"] == "Bearer s3cret"
    assert question.shape == passage.shape == (16,)
    assert model.identity.dimension == 16


async def test_a_key_may_stand_in_another_variable(server, monkeypatch):
    monkeypatch.setenv("THEIR_KEY", "from elsewhere")
    with opened(server, api_key="${THEIR_KEY}"):
        assert server.headers[-1]["Authorization"] == "Bearer from elsewhere"


async def test_requests_stay_within_the_limits_of_tokens_and_of_requests_at_once(server):
    server.always = Fault(delay=0.1)
    with opened(server, batch_tokens=60, batch_size=4, concurrency=3) as model:
        await model.texts(["one two three four five six seven eight"] * 30)
    assert all(len(request["input"]) <= 4 for request in server.requests)
    assert len(server.requests) >= 8
    assert server.most_at_once == 3


async def test_requests_are_spaced_by_the_rate(server):
    with opened(server, requests_per_minute=1200, batch_size=1, concurrency=8) as model:
        await model.texts([f"text {number}" for number in range(8)])
    gaps = np.diff(sorted(server.times))
    assert len(server.times) == 8
    assert sum(gaps) >= 7 * 0.05 * 0.8


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429),
        Fault(status=500),
        Fault(status=503),
        Fault(status=408),
        Fault(cut=True),
    ],
    ids=str,
)
async def test_what_may_pass_is_tried_again(server, fault):
    with opened(server) as model:
        server.script(fault, fault)
        vectors = await model.texts(["one", "two"])
    assert vectors.shape == (2, 32)
    assert len([request for request in server.requests if request["input"] != [*PROBES.values()]]) == 3


async def test_a_pause_that_the_provider_asks_for_is_made(server):
    with opened(server) as model:
        server.script(Fault(status=429, retry_after="1"))
        await model.texts(["one"])
    assert server.times[1] - server.times[0] >= 1


async def test_what_does_not_pass_ends_with_its_reason(server):
    with opened(server, max_retries=1) as model:
        server.always = Fault(status=503)
        with pytest.raises(EmbeddingUnavailable, match="status 503") as caught:
            await model.texts(["one"])
    assert caught.value.retryable
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault(status=401), "does not accept the key"),
        (Fault(status=404), "knows no such model"),
        (Fault(status=429, said="insufficient_quota"), "no credit"),
        (Fault(status=307), "sends us elsewhere|refused"),
    ],
)
async def test_what_will_not_pass_is_not_tried_again(server, fault, words):
    with opened(server) as model:
        server.always = fault
        with pytest.raises((EmbeddingUnavailable, EmbeddingFailed), match=words) as caught:
            await model.texts(["a secret text"])
    assert len(server.requests) == 1
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "vector",
    [
        [0.0] * 32,
        [float("nan")] * 32,
        [1e39] * 32,
        [float("inf")] + [1.0] * 31,
        ["1.0"] * 32,
        [None] * 32,
        [[1.0] * 32],
        {"a": 1},
        "no base64!",
        [],
        "AAAA",
        5,
    ],
    ids=lambda vector: repr(vector)[:12],
)
async def test_a_vector_that_is_none_is_refused(server, vector):
    with opened(server) as model:
        server.script(Fault(vector=vector))
        with pytest.raises(EmbeddingFailed):
            await model.texts(["one"])
        assert (await model.texts(["one"])).shape == (1, 32)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b"{}",
        b'{"data": 5}',
        b'{"data": [1]}',
        b'{"data": []}',
        b'{"data": [{"embedding": [1]}, {"embedding": [2]}]}',
        b'{"data": [{"index": 7, "embedding": [1]}]}',
        b'{"data": [{"index": "x", "embedding": [1]}]}',
        b'{"data": [{"index": true, "embedding": [1]}]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
    ids=lambda body: repr(body[:20]),
)
async def test_an_answer_of_another_shape_is_refused(server, body):
    with opened(server) as model:
        server.script(Fault(body=body))
        with pytest.raises(EmbeddingFailed, match="embedding server"):
            await model.texts(["one"])


async def test_another_dimension_in_an_answer_is_another_model(server):
    with opened(server) as model:
        server.dimension = 16
        with pytest.raises(EmbeddingMismatch, match="16 dimensions instead of 32"):
            await model.query("one")


async def test_another_model_behind_the_same_name_is_noticed_after_a_failure(server):
    with opened(server, max_retries=0) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        before = await model.texts(["one"])
        server.seed = 2
        server.script(Fault(status=503))
        with pytest.raises(EmbeddingUnavailable):
            await model.texts(["one"])
        for call in (model.texts, model.queries):
            with pytest.raises(EmbeddingMismatch, match="another model answers under its name"):
                await call(["one"])
        assert "another model" in (await model.trouble() or "")
        # a generation that is built with the new one is served beside
        assert (await GenerationEmbedder(base, identity=base.identity).query("one")).shape == (32,)
        server.seed = 1
        server.script(Fault(status=503))
        with pytest.raises(EmbeddingUnavailable):
            await base.texts(["one"])
        np.testing.assert_allclose(await model.texts(["one"]), before, atol=1e-6)
        assert await model.trouble() is None


async def test_another_model_is_noticed_after_a_while_without_any_failure(server, monkeypatch):
    with opened(server) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        await model.query("one")
        server.seed = 2
        monkeypatch.setattr(embedding.remote.embedder, "PROBE_SECONDS", 0.0)
        with pytest.raises(EmbeddingMismatch):
            await model.query("one")


@pytest.mark.parametrize(
    "lacks", ["[\u0400-\u04ff]", "[\u3040-\u30ff]", "[\uac00-\ud7a3]", "[\u0e00-\u0e7f]", "[\u0600-\u06ff]"]
)
@pytest.mark.parametrize("batch_size", [1, 4, 64])
async def test_a_model_that_lost_the_words_of_a_script_is_another(server, lacks, batch_size):
    with opened(server, batch_size=batch_size) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        await model.query("one")
        server.lacks = lacks
        with opened(server) as pruned:
            assert pruned.identity.fingerprint != base.identity.fingerprint  # nor are their stored vectors mixed up
            with pytest.raises(EmbeddingMismatch, match=r"of texts in some languages \(\w+\) now"):
                await pruned.require(base.identity)
        base._doubt()
        with pytest.raises(EmbeddingMismatch, match="another model answers under its name"):
            await model.query("one")


async def test_a_generation_that_keeps_the_english_probe_alone_is_served_as_before(server):
    with opened(server) as base:
        whole = base.identity
        kept = (whole.options or {})["probe"]
        old = base.files.identity_with({"en": kept}, base._settings)
        assert set(old.options or {}) == {"remote", "query_instruction", "text_instruction", "probe"}
        parts = ["remote", "openai_like", "m", 32, "", "", kept]  # as releases wrote it that knew one probe
        assert old.fingerprint == hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
        assert old.fingerprint != whole.fingerprint
        server.lacks = "[\u0400-\u04ff]"
        base._doubt()
        assert (await GenerationEmbedder(base, identity=old).query("one")).shape == (32,)
        server.seed = 2
        base._doubt()
        with pytest.raises(EmbeddingMismatch):
            await GenerationEmbedder(base, identity=old).query("one")


async def test_a_probe_that_a_model_refuses_is_left_out_unless_it_embedded_it_before(server):
    server.refuses = "[\u3040-\u30ff]"
    with opened(server) as base:
        kept = {name for name in base.identity.options or {} if name.startswith("probe.")}
        assert kept == {f"probe.{name}" for name in PROBES} - {"probe.en", "probe.ja"}
        model = GenerationEmbedder(base, identity=base.identity)
        base._doubt()
        assert (await model.query("one")).shape == (32,)
    server.refuses = ""
    with opened(server) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        server.refuses = "[\u3040-\u30ff]"
        base._doubt()
        with pytest.raises(EmbeddingMismatch, match=r"\(ja\)"):
            await model.query("one")


async def test_a_model_with_noise_in_its_numbers_is_the_same(server):
    with opened(server) as one, opened(server) as other:
        server.noise = 0.02
        await other.require(one.identity)


async def test_a_generation_of_another_model_is_refused(server):
    with opened(server) as one:
        server.seed = 2
        with opened(server) as other:
            assert other.identity.fingerprint != one.identity.fingerprint
            with pytest.raises(EmbeddingMismatch, match="--reindex"):
                await other.require(one.identity)


async def test_a_server_that_comes_later_is_waited_for_where_the_dimension_is_known(server):
    server.always = Fault(status=503)
    with pytest.raises(EmbeddingModelNotFound, match="DIMENSIONS"):
        open_remote(EmbeddingSettings(provider="openai_like", base_url=server.openai_url, model="m"))
    with opened(server, dimensions=32) as model:
        assert "503" in (await model.trouble() or "")
        with pytest.raises(EmbeddingUnavailable):
            await model.require(model.identity)
        server.always = None
        await model.require(model.identity)
        assert (model.identity.options or {})["probe"]
        assert await model.trouble() is None


async def test_a_dimension_that_cannot_be_chosen_is_left_out_and_checked(server):
    server.takes_dimensions = False
    with opened(server, dimensions=32) as model:
        assert (await model.texts(["one"])).shape == (1, 32)
        assert "dimensions" not in server.requests[-1]
    with pytest.raises(EmbeddingModelNotFound, match="gives vectors of 32 dimensions"), opened(server, dimensions=8):
        pass


async def test_a_batch_that_is_too_large_is_halved_until_it_fits(server):
    server.most_texts = 3
    with opened(server, batch_size=16) as model:
        vectors = await model.texts([f"number {number}" for number in range(16)])
    wanted = np.array([server.vector(f"number {number}") for number in range(16)])
    np.testing.assert_allclose(vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)


async def test_a_text_that_is_too_long_is_refused_alone_and_a_question_is_cut(server):
    server.most_characters = 200
    with opened(server, max_tokens=16) as model:
        with pytest.raises(TooLarge):
            await model.texts(["short", "long " * 100])
        assert (await model.query("long " * 100)).shape == (32,)


async def test_questions_fail_fast_while_the_server_is_down_and_work_again_afterwards(server, monkeypatch):
    monkeypatch.setattr(embedding.remote.patience, "BREAKER_SECONDS", 0.3)
    with opened(server, question_timeout=0.3) as model:
        model._breaker._seconds = 0.3
        server.always = Fault(delay=0.8)
        for _ in range(5):
            with pytest.raises(EmbeddingUnavailable, match=r"within 0\.3 s"):
                await model.query("what")
        before = len(server.requests)
        with pytest.raises(EmbeddingUnavailable, match=r"5 times in a row; it is asked again") as caught:
            await model.query("what")
        assert len(server.requests) == before
        assert caught.value.retry_after == 1
        server.always = None
        await asyncio.sleep(0.35)
        assert (await model.query("what")).shape == (32,)
        assert await model.trouble() is None


async def _broken(server, model):
    """Open the breaker, and let the server answer again once it may be tried."""
    model.model._breaker._seconds = 0.3
    server.always = Fault(status=503)
    for _ in range(5):
        with pytest.raises(EmbeddingUnavailable):
            await model.query("what")
    with pytest.raises(EmbeddingUnavailable, match=r"5 times in a row"):
        await model.query("what")
    server.always = None
    await asyncio.sleep(0.35)
    model.model._breaker._seconds = 600


async def test_the_first_question_after_an_outage_is_answered_though_the_model_is_proved_first(server):
    with opened(server, question_timeout=5) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        await _broken(server, model)
        assert (await model.query("what")).shape == (32,)
        assert base._breaker.reason is None
        assert (await model.query("that")).shape == (32,)


async def test_a_trial_that_finds_another_model_or_a_wrong_answer_opens_no_breaker(server):
    with opened(server) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        await _broken(server, model)
        server.seed = 2
        for _ in range(2):
            with pytest.raises(EmbeddingMismatch):
                await model.query("what")
        server.seed = 1
        base._doubt()
        await _broken(server, model)
        server.script(Fault(), Fault(body=b"{}"))  # the probes, the question
        with pytest.raises(EmbeddingFailed):
            await model.query("what")
        assert (await model.query("what")).shape == (32,)


async def test_a_trial_that_its_caller_leaves_is_followed_by_the_next(server):
    with opened(server) as base:
        model = GenerationEmbedder(base, identity=base.identity)
        await _broken(server, model)
        server.script(Fault(delay=1))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await model.query("what")
        async with asyncio.timeout(30):
            while base._breaker._due > time.monotonic():  # noqa: ASYNC110 (another thread cancels the call)
                await asyncio.sleep(0.01)
        assert (await model.query("what")).shape == (32,)


async def test_a_server_that_is_gone_is_told_of_and_found_again():
    with start_embedding_server() as server, opened(server) as model:
        port = server.port
    with start_embedding_server() as server:
        pass
    settings = EmbeddingSettings(
        provider="openai_like", base_url=f"http://127.0.0.1:{port}/v1", model="m", dimensions=32, max_retries=0
    )
    model = open_remote(settings)
    try:
        with pytest.raises(EmbeddingUnavailable, match="cannot be reached"):
            await model.query("one")
        with listening(server, port):
            assert (await model.query("one")).shape == (32,)
    finally:
        model.close()


async def test_tokens_are_counted_as_the_provider_does_else_estimated(server):
    with opened(server) as model:
        spent = Spent()
        with counted_tokens(spent):
            await model.texts(["one two three"] * 4)
        assert spent.tokens == 12
        server.counts_usage = False
        with counted_tokens(spent):
            await model.texts(["one two three"])
        assert spent.tokens > 14


async def test_a_call_that_its_caller_leaves_ends_and_its_slot_is_free(server):
    with opened(server, concurrency=1) as model:
        server.script(Fault(delay=0.5))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await model.texts(["one"])
        began = time.monotonic()
        assert (await model.texts(["two"])).shape == (1, 32)
        assert time.monotonic() - began < 0.4


async def test_a_closed_model_says_so(server):
    with opened(server) as model:
        pass
    with pytest.raises(EmbeddingUnavailable, match="closed"):
        await model.query("one")
    model.close()


async def test_texts_of_any_characters_arrive(server):
    odd = ["", "\ud800", "\x00", "🦊" * 50, "null"]
    with opened(server) as model:
        assert (await model.texts(odd)).shape == (5, 32)
        assert (await model.texts([])).shape == (0, 32)
    assert sorted(server.texts) == sorted(["", "?", *odd[2:]])
