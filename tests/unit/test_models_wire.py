import email.utils
import time
from collections.abc import AsyncIterator

import pytest

from server.engines.models.errors import (
    DETAIL_CHARS,
    ModelError,
    ModelFailed,
    ModelRateLimited,
    ModelRejected,
    ModelUnavailable,
)
from server.engines.models.model import _finish_reason
from server.engines.models.ollama import _writes
from server.engines.models.openai_compatible import _refused_parameter
from server.engines.models.wire import Hints, _split, refusal, retry_after

HINTS = Hints()


async def lines(*pieces: bytes) -> list[bytes]:
    async def source() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [line async for line in _split(source())]


async def test_lines_split_at_line_feeds_and_nowhere_else() -> None:
    text = '{"a": "one\u2028two\x85three"}'.encode()
    assert await lines(text + b"\n" + text + b"\r\n\r\n") == [text, text]


async def test_a_character_that_is_cut_by_the_network_survives() -> None:
    euro = "€".encode()
    assert await lines(b"data: " + euro[:1], euro[1:] + b"\n") == [b"data: " + euro]


async def test_an_endless_line_is_refused() -> None:
    with pytest.raises(ModelFailed):
        await lines(*[b"x" * 1_000_000] * 6)


def test_retry_after_is_read_in_all_its_forms() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after-ms": "250", "retry-after": "1"}) == 0.25
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert retry_after({"retry-after": in_a_minute}) == pytest.approx(60, abs=2)
    assert retry_after({"retry-after": "-3"}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("status", "kind", "retryable"),
    [
        (302, ModelRejected, False),
        (400, ModelRejected, False),
        (401, ModelRejected, False),
        (403, ModelRejected, False),
        (404, ModelRejected, False),
        (408, ModelFailed, True),
        (413, ModelRejected, False),
        (422, ModelRejected, False),
        (429, ModelRateLimited, True),
        (500, ModelFailed, True),
        (529, ModelFailed, True),
    ],
)
def test_a_status_has_one_meaning(status: int, kind: type[ModelError], *, retryable: bool) -> None:
    error = refusal(status, hints=HINTS, detail="the prompt was: attack at dawn", code="")
    assert type(error) is kind
    assert error.retryable is retryable
    assert "attack" not in str(error)


def test_a_refused_key_names_the_setting() -> None:
    assert "FOOTNOTE_LLM__API_KEY" in str(refusal(401, hints=HINTS, detail="", code=""))


def test_a_prompt_that_is_too_long_says_what_to_do() -> None:
    error = refusal(400, hints=HINTS, detail="", code="context_length_exceeded")
    assert "smaller k" in str(error)


def test_a_rate_limit_is_a_kind_of_unavailable_with_whole_seconds() -> None:
    error = ModelRateLimited("slow down", wait=1.2)
    assert isinstance(error, ModelUnavailable)
    assert error.retry_after == 2
    assert ModelRateLimited("slow down").retry_after == 5


def test_a_detail_is_short_and_on_one_line() -> None:
    error = ModelRejected("no", detail="a\nb\r\n" + "x" * 1000)
    assert error.detail.startswith("a b x")
    assert len(error.detail) == DETAIL_CHARS


@pytest.mark.parametrize(
    ("detail", "parameter"),
    [
        ("Unsupported parameter: 'max_tokens' is not supported; use 'max_completion_tokens' instead.", "max_tokens"),
        ("Unsupported value: 'temperature' does not support 0.1 with this model.", "temperature"),
        ("[{'type': 'extra_forbidden', 'loc': ('body', 'stream_options'), 'msg': 'Extra inputs'}]", "stream_options"),
        ("'max_tokens' or 'max_completion_tokens' is too large: 512. The context is 128 tokens.", None),
        ("I do not like your prompt", None),
    ],
)
def test_a_parameter_that_is_refused_by_name_is_recognised(detail: str, parameter: str | None) -> None:
    body = {"stream_options": {}, "temperature": 0.1, "max_tokens": 512}
    assert _refused_parameter(ModelRejected("no", detail=detail), body) == parameter


def test_finish_reasons_of_compatible_servers_are_understood() -> None:
    assert [_finish_reason(name) for name in ("stop", "eos_token", "length", "MAX_TOKENS")] == [
        "stop",
        "stop",
        "length",
        "length",
    ]
    with pytest.raises(ModelRejected):
        _finish_reason("content_filter")
    with pytest.raises(ModelFailed):
        _finish_reason("tool_calls")


@pytest.mark.parametrize(
    ("name", "family", "writes"),
    [
        ("llama3.2:3b", "llama", True),
        ("qwen3:4b", "qwen3", True),
        ("nomic-embed-text:latest", "nomic-bert", False),
        ("mxbai-embed-large", "bert", False),
        ("qwen3-embedding:0.6b", "qwen3", False),
        ("all-minilm:latest", "bert", False),
        ("bge-m3", "bert", False),
    ],
)
def test_embedding_models_of_ollama_are_told_apart(name: str, family: str, *, writes: bool) -> None:
    assert _writes({"name": name, "details": {"family": family}}) is writes
