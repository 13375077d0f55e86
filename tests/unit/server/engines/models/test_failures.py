import asyncio
import email.utils
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from ollama import ListResponse

from server.engines.models.connections import Body
from server.engines.models.errors import (
    DETAIL_CHARS,
    ModelError,
    ModelFailed,
    ModelFiltered,
    ModelRateLimited,
    ModelRejected,
    ModelTooLong,
    ModelUnavailable,
)
from server.engines.models.failures import Hints, broken, complaint, refusal, retry_after, unreached
from server.engines.models.model import _finish_reason
from server.engines.models.ollama import _lines, _writes
from server.engines.models.openai_compatible import chunk_of
from server.engines.models.provider import Chunk

HINTS = Hints()


class Pieces(httpx.AsyncByteStream):
    """A body that comes in these pieces, and knows whether it was read to its end."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.read = False
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        self.read = True

    async def aclose(self) -> None:
        self.closed = True


async def lines(*pieces: bytes) -> list[bytes]:
    response = httpx.Response(200, stream=Pieces(*pieces))
    return [line async for line in _lines(response, HINTS)]


async def test_lines_split_at_line_feeds_and_nowhere_else() -> None:
    text = '{"a": "one\u2028two\x85three"}'.encode()
    assert [line.strip() for line in await lines(text + b"\n" + text + b"\r\n\r\n")] == [text, text]


async def test_a_character_that_is_cut_by_the_network_survives() -> None:
    euro = "€".encode()
    assert await lines(b'{"a": "' + euro[:1], euro[1:] + b'"}\n') == [b'{"a": "' + euro + b'"}']


@pytest.mark.parametrize("pieces", [[b"x" * 1_000_000] * 6, [b"\n\n" + b"x" * 5_000_000]])
async def test_an_endless_line_is_refused(pieces: list[bytes]) -> None:
    with pytest.raises(httpx.DecodingError):
        async for _ in Body(Pieces(*pieces)):
            pass


async def test_many_short_lines_are_no_endless_one() -> None:
    pieces = [b"x" * 999_999 + b"\n"] * 6
    assert [piece async for piece in Body(Pieces(*pieces))] == pieces


@pytest.mark.parametrize(("mark", "read"), [(b"data: [DONE]\n\n", True), (b"data: {}\n\n", False)])
async def test_a_body_is_read_to_its_end_only_where_the_end_was_announced(mark: bytes, *, read: bool) -> None:
    stream = Pieces(mark, b"", b"")
    body = Body(stream)
    await anext(aiter(body))
    await body.aclose()
    assert (stream.read, stream.closed) == (read, True)


async def test_an_end_that_does_not_come_is_not_waited_for() -> None:
    class Endless(Pieces):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"data: [DONE]\n\n"
            await asyncio.Event().wait()

    stream = Endless()
    body = Body(stream)
    await anext(aiter(body))
    await asyncio.wait_for(body.aclose(), 5)
    assert stream.closed


def test_retry_after_is_read_in_all_its_forms() -> None:
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after-ms": "250", "retry-after": "1"}) == 0.25
    in_a_minute = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert retry_after({"retry-after": in_a_minute}) == pytest.approx(60, abs=2)
    assert retry_after({"retry-after": "-3"}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "nan"}) is None
    assert retry_after({"retry-after": "inf"}) == retry_after({"retry-after": "1e300"}) == 86_400
    assert retry_after({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}) == 86_400
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
        (413, ModelTooLong, False),
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


@pytest.mark.parametrize("code", ["content_filter", "content_policy_violation"])
def test_a_prompt_that_the_providers_filter_refuses_is_filtered_and_no_other_rejection(code: str) -> None:
    assert isinstance(refusal(400, hints=HINTS, detail="filtered", code=code), ModelFiltered)


@pytest.mark.parametrize(
    "said",
    [
        "Output blocked by content filtering policy",
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    ],
)
def test_a_filter_that_has_no_code_is_known_by_its_words(said: str) -> None:
    assert isinstance(refusal(400, hints=HINTS, detail=said, code="invalid_request_error"), ModelFiltered)
    assert not isinstance(refusal(401, hints=HINTS, detail=said, code=""), ModelFiltered)


def test_a_prompt_that_is_too_long_says_what_to_do() -> None:
    error = refusal(400, hints=HINTS, detail="", code="context_length_exceeded")
    assert "smaller k" in str(error)


def test_a_rate_limit_is_a_kind_of_unavailable_with_whole_seconds() -> None:
    error = ModelRateLimited("slow down", wait=1.2)
    assert isinstance(error, ModelUnavailable)
    assert error.retry_after == 2
    assert ModelRateLimited("slow down", wait=33).retry_after == 33
    assert ModelRateLimited("slow down").retry_after == 5


def test_a_detail_is_short_and_on_one_line() -> None:
    error = ModelRejected("no", detail="a\nb\r\n" + "x" * 1000)
    assert error.detail.startswith("a b x")
    assert len(error.detail) == DETAIL_CHARS


def test_finish_reasons_of_compatible_servers_are_understood() -> None:
    assert [_finish_reason(name, has_called=False) for name in ("stop", "eos_token", "length", "MAX_TOKENS")] == [
        "stop",
        "stop",
        "length",
        "length",
    ]
    with pytest.raises(ModelRejected):
        _finish_reason("content_filter", has_called=False)
    with pytest.raises(ModelFailed):
        _finish_reason("tool_calls", has_called=False)
    assert [_finish_reason(name, has_called=True) for name in ("stop", "tool_calls", "length")] == [
        "tool_calls",
        "tool_calls",
        "length",
    ]


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
    listed = ListResponse.model_validate({"models": [{"model": name, "details": {"family": family}}]})
    assert _writes(listed.models[0]) is writes


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (httpx.ConnectTimeout(""), "accept the connection in time"),
        (httpx.PoolTimeout(""), "accept the connection in time"),
        (httpx.ReadTimeout(""), "answer in time"),
        (TimeoutError(), "answer in time"),
        (httpx.ConnectError(""), "cannot be reached"),
        (httpx.RemoteProtocolError(""), "without an answer"),
        (None, "cannot be reached"),
    ],
)
def test_what_happens_before_the_answer_is_unavailable(cause: Exception | None, words: str) -> None:
    error = unreached(cause)
    assert words in str(error)
    assert error.retryable


@pytest.mark.parametrize(
    ("raised", "retryable"),
    [
        (httpx.ReadTimeout("the prompt"), True),
        (httpx.RemoteProtocolError("the prompt"), True),
        (httpx.DecodingError("the prompt"), False),
        (ValueError("the prompt"), False),
        (UnicodeDecodeError("utf-8", b"the prompt", 0, 1, "why"), False),
        (IndexError("the prompt"), False),
        (AttributeError("the prompt"), False),
    ],
)
def test_what_breaks_within_an_answer_is_failed(raised: Exception, *, retryable: bool) -> None:
    error = broken(raised)
    assert error.retryable is retryable
    assert "prompt" not in str(error) + error.detail


@pytest.mark.parametrize(
    ("error", "read"),
    [
        ("out of memory", ("out of memory", "", 500)),
        ({"message": "slow down", "code": 429}, ("slow down", "429", 429)),
        ({"message": "no", "code": "bad", "status": 400}, ("no", "bad", 400)),
        ({"message": "no", "type": "server_error", "code": None}, ("no", "server_error", 500)),
        ({"reason": "why"}, ("{'reason': 'why'}", "", 500)),
    ],
)
def test_complaints_of_both_protocols_are_read(error: object, read: tuple[str, str, int]) -> None:
    assert complaint(error) == read


@pytest.mark.parametrize(
    ("choice", "text"),
    [
        ({"delta": {"content": "rain"}}, "rain"),
        ({"delta": {"content": [{"type": "thinking"}, {"type": "text", "text": "rain"}]}}, "rain"),
        ({"delta": {"reasoning_content": "hm"}}, ""),
        ({"delta": None, "finish_reason": "stop"}, ""),
        ({"text": "rain"}, "rain"),
        ({}, ""),
    ],
)
def test_events_of_compatible_servers_are_understood(choice: dict[str, object], text: str) -> None:
    assert chunk_of({"choices": [choice]}).text == text


def test_an_event_of_any_other_shape_is_empty() -> None:
    for event in ({}, {"choices": [], "usage": None}, {"choices": None}, {"choices": ["rain"]}, [], "rain", 5, None):
        assert chunk_of(event) == Chunk()


def test_choosing_a_model_imports_no_client_before_one_is_chosen() -> None:
    program = """
        import sys, server.engines.models.choose
        heavy = {"llama_index", "openai", "ollama", "transformers"} & set(sys.modules)
        sys.exit(f"imported: {heavy}" if heavy else 0)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=Path(__file__).parents[5], check=False, timeout=60
    )
    assert done.returncode == 0
