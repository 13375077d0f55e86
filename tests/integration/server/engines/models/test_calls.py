"""Every way in which a call of a language model can go, over real connections, in three protocols."""

import asyncio
import base64
import contextlib
import socket
import time
from collections.abc import Iterator

import pytest
import structlog.testing
from llama_index.core.llms import ChatMessage
from support.model_calls import ASKED, KEY, PROTOCOLS, QUESTION, ask, fails, opened
from support.model_server import ANSWER, PROMPT_TOKENS, Fault, ModelServer, Reply, start_model_server

from server.answers import Usage
from server.engines.models.errors import (
    ModelError,
    ModelFailed,
    ModelFiltered,
    ModelRateLimited,
    ModelRejected,
    ModelTimeout,
    ModelTooLong,
    ModelUnavailable,
)
from server.engines.models.events import Finish


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with start_model_server() as running:
        yield running


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_comes_in_pieces_with_its_end_and_its_counts(server: ModelServer, protocol: str) -> None:
    async with opened(server, protocol) as model:
        text, finish = await ask(model)
    words = len(ANSWER.split())
    assert text == ANSWER
    assert finish == Finish("stop", Usage(PROMPT_TOKENS, words, PROMPT_TOKENS + words), "scripted-1")


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_the_request_asks_for_reaches_the_model(server: ModelServer, protocol: str) -> None:
    async with opened(server, protocol, temperature=0.7, max_tokens=99, context_window=2048) as model:
        await ask(model)
        await ask(model, temperature=0.0, max_tokens=7, stop=["\n\n", "\nQuery:"])
    first, second = (request.body.get("options", request.body) for request in server.requests)
    limit = "num_predict" if protocol == "ollama" else "max_tokens"
    assert (first["temperature"], first[limit]) == (0.7, 99)
    assert "stop" not in first
    assert (second["temperature"], second[limit], second["stop"]) == (0.0, 7, ["\n\n", "\nQuery:"])
    if protocol == "ollama":
        assert first["num_ctx"] == 2048
    else:
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_a_base_model_gets_the_prompt_unchanged(server: ModelServer) -> None:
    prompt = "Context: {context_str}\n\nQuery: what?\nAnswer: "
    async with opened(server, "completions") as model:
        assert not model.is_chat
        await ask(model, [ChatMessage(role="user", content=prompt)])
    assert server.requests[0].path == "/v1/completions"
    assert server.requests[0].body["prompt"] == prompt


async def test_a_chat_model_gets_roles(server: ModelServer) -> None:
    async with opened(server) as model:
        await ask(model, [ChatMessage(role="system", content="Be brief."), *ASKED])
    assert server.requests[0].body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
    ]


async def test_a_server_that_wants_no_key_does_not_get_the_one_of_another(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    async with opened(server, api_key=None) as model:
        await ask(model)
    assert KEY not in str(server.requests[0].headers)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_user_and_password_of_an_address_reach_the_server(server: ModelServer, protocol: str) -> None:
    base = f"http://user:p%40ss@127.0.0.1:{server.port}"
    address = {"ollama_base_url": base} if protocol == "ollama" else {"base_url": f"{base}/v1"}
    async with opened(server, protocol, **address) as model:
        await ask(model)
        assert await model.ready()
    expected = "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert {seen.headers["authorization"] for seen in (*server.requests, *server.looks)} == {expected}


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_text_of_any_alphabet_arrives_as_it_was_sent(server: ModelServer, protocol: str) -> None:
    text = "naïve \u2028 line \x85 next — 漢字 🌧 \x1c end"
    server.script(Reply(text=text))
    async with opened(server, protocol) as model:
        assert (await ask(model))[0] == text


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("empty", ["", " ", " \n \n", "\u200b"])
async def test_an_empty_answer_is_asked_for_again(server: ModelServer, protocol: str, empty: str) -> None:
    server.script(Reply(text=empty))
    async with opened(server, protocol) as model:
        assert (await ask(model))[0] == ANSWER
    assert len(server.requests) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_model_that_says_nothing_is_not_asked_for_ever(server: ModelServer, protocol: str) -> None:
    server.default = Reply(text="")
    async with opened(server, protocol) as model:
        text, finish = await ask(model)
    assert (text, finish.finish_reason) == ("", "stop")
    assert len(server.requests) == 3
    assert model.breaker.state == "closed"


async def test_an_answer_that_is_empty_for_a_reason_is_not_asked_for_again(server: ModelServer) -> None:
    server.default = Reply(text="", finish_reason="length")
    async with opened(server) as model:
        assert (await ask(model))[1].finish_reason == "length"
        server.default = Reply(text="")
        await ask(model, stop=["."])
    assert len(server.requests) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_answer_cut_by_the_token_limit_says_so(server: ModelServer, protocol: str) -> None:
    server.script(Reply(finish_reason="length"))
    async with opened(server, protocol) as model:
        assert (await ask(model))[1].finish_reason == "length"


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_provider_that_counts_no_tokens_is_fine(server: ModelServer, protocol: str) -> None:
    server.script(Reply(usage=False))
    async with opened(server, protocol) as model:
        text, finish = await ask(model)
    assert (text, finish.usage) == (ANSWER, None)


@pytest.mark.parametrize("protocol", ["chat", "ollama"])
async def test_reasoning_is_no_part_of_the_answer_but_a_sign_of_life(server: ModelServer, protocol: str) -> None:
    server.script(Reply(reasoning="let me think about it"))
    async with opened(server, protocol) as model:
        assert (await ask(model))[0] == ANSWER


async def test_an_answer_stopped_by_the_content_filter_is_rejected(server: ModelServer) -> None:
    server.script(Reply(fault="filtered"))
    async with opened(server) as model:
        _, error = await fails(model, ModelFiltered)
    assert not error.retryable
    assert "content filter" in str(error)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("fault", "kind", "requests", "names"),
    [
        ("rate-limited", ModelRateLimited, 3, "rate limiting"),
        ("server-error", ModelFailed, 3, "status 500"),
        ("unavailable", ModelFailed, 3, "status 503"),
        ("close", ModelUnavailable, 3, "without an answer"),
        ("cut-first", ModelFailed, 3, "lost within"),
        ("no-credit", ModelRejected, 1, "quota"),
        ("unauthorized", ModelRejected, 1, "FOOTNOTE_LLM__"),
        ("not-found", ModelRejected, 1, "FOOTNOTE_LLM__MODEL"),
        ("context-length", ModelTooLong, 1, "smaller k"),
        ("html", ModelFailed, 1, "_BASE_URL"),
        ("empty-choices", ModelFailed, 1, "empty reply"),
    ],
)
async def test_a_fault_before_the_first_token_has_its_name_and_its_number_of_tries(
    server: ModelServer, *, protocol: str, fault: Fault, kind: type[ModelError], requests: int, names: str
) -> None:
    if protocol == "ollama" and fault == "no-credit":
        pytest.skip("Ollama sells nothing")
    server.default = Reply(fault=fault)
    async with opened(server, protocol, max_retries=2) as model:
        text, error = await fails(model, kind)
    assert text == ""
    assert len(server.requests) == requests
    assert names in str(error)


@pytest.mark.parametrize(
    ("fault", "kind", "logged"),
    [
        ("context-length", ModelTooLong, "(left out: it quotes the prompt)"),
        ("rate-limited", ModelRateLimited, "slow down"),
        ("unavailable", ModelFailed, "loading"),
    ],
)
async def test_the_log_tells_what_the_provider_said_unless_it_quotes_the_prompt(
    server: ModelServer, fault: Fault, kind: type[ModelError], logged: str
) -> None:
    server.default = Reply(fault=fault)
    async with opened(server, max_retries=0) as model:
        with structlog.testing.capture_logs() as entries:
            await fails(model, kind)
    (entry,) = (entry for entry in entries if entry["event"] == "model_call_failed")
    assert entry["detail"] == logged
    assert "secret question" not in str(entries)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("fault", "retryable"), [("cut", True), ("no-finish", True), ("garbage", False), ("error-event", True)]
)
async def test_a_fault_after_the_first_token_is_told_and_never_tried_again(
    server: ModelServer, protocol: str, fault: Fault, *, retryable: bool
) -> None:
    server.default = Reply(fault=fault)
    async with opened(server, protocol, max_retries=2) as model:
        text, error = await fails(model, ModelFailed)
    assert text == "Rain falls mainly"
    assert error.retryable is retryable
    assert len(server.requests) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_fault_that_passes_is_not_noticed(server: ModelServer, protocol: str) -> None:
    server.script(Reply(fault="server-error"), Reply(fault="close"))
    async with opened(server, protocol, max_retries=2) as model:
        with structlog.testing.capture_logs() as entries:
            assert (await ask(model))[0] == ANSWER
    assert len(server.requests) == 3
    told = [(entry["event"], entry["attempt"]) for entry in entries]
    assert told == [("model_call_retried", 2), ("model_call_retried", 3)]
    assert "status 500" in entries[0]["reason"]
    assert {(entry["provider"], entry["model"]) for entry in entries} == {(model.provider, model.name)}


async def test_no_retries_means_one_request(server: ModelServer) -> None:
    server.default = Reply(fault="rate-limited")
    async with opened(server, max_retries=0) as model:
        await fails(model, ModelRateLimited)
    assert len(server.requests) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_retry_after_is_waited_for(server: ModelServer, protocol: str) -> None:
    server.script(Reply(fault="rate-limited", retry_after="0.4"))
    async with opened(server, protocol) as model:
        assert (await ask(model))[0] == ANSWER
    first, second = server.requests
    assert second.at - first.at >= 0.4


@pytest.mark.parametrize("seconds", ["600", "60"])
async def test_a_wait_that_is_too_long_is_handed_on_at_once(server: ModelServer, seconds: str) -> None:
    server.default = Reply(fault="rate-limited", retry_after=seconds)
    async with opened(server, total_timeout=30) as model:
        began = time.monotonic()
        _, error = await fails(model, ModelRateLimited)
    assert time.monotonic() - began < 15
    assert isinstance(error, ModelUnavailable)
    assert error.retry_after == int(seconds)
    assert len(server.requests) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("fault", "text"), [("hang-head", ""), ("hang-first", ""), ("hang-between", "Rain falls mainly")]
)
async def test_a_silent_model_is_left_when_the_token_deadline_passes(
    server: ModelServer, protocol: str, fault: Fault, text: str
) -> None:
    server.default = Reply(fault=fault)
    async with opened(server, protocol, token_timeout=0.3) as model:
        said, error = await fails(model, ModelTimeout)
        assert await asyncio.to_thread(server.wait_for_disconnects, 1, timeout=1)
    assert said == text
    assert "silent for 0.3 seconds" in str(error)
    assert len(server.requests) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_slow_drip_ends_at_the_total_deadline(server: ModelServer, protocol: str) -> None:
    server.default = Reply(text="drip " * 100, delay=0.1)
    async with opened(server, protocol, token_timeout=5, total_timeout=1.45) as model:
        said, error = await fails(model, ModelTimeout)
        assert await asyncio.to_thread(server.wait_for_disconnects, 1, timeout=1)
    assert said.startswith("drip drip")
    assert "longer than 1.45 seconds" in str(error)


@pytest.mark.parametrize("protocol", ["chat", "completions"])
async def test_a_complete_answer_counts_though_the_stream_never_ends(server: ModelServer, protocol: str) -> None:
    server.default = Reply(fault="hang-end")
    async with opened(server, protocol, token_timeout=0.3) as model:
        text, finish = await ask(model)
    assert (text, finish.finish_reason, finish.usage) == (ANSWER, "stop", None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_closing_the_stream_hangs_up(server: ModelServer, protocol: str) -> None:
    server.default = Reply(text="on and on " * 1000, delay=0.01)
    async with opened(server, protocol) as model:
        async with contextlib.aclosing(model.stream(ASKED)) as events:
            async for _ in events:
                break
        assert await asyncio.to_thread(server.wait_for_disconnects, 1, timeout=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("fault", [None, "hang-head", "hang-first"])
async def test_cancelling_the_reader_hangs_up(server: ModelServer, protocol: str, fault: Fault | None) -> None:
    server.default = Reply(text="on and on " * 1000, delay=0.01, fault=fault)
    async with opened(server, protocol) as model:
        reader = asyncio.create_task(ask(model))
        while not server.requests:  # noqa: ASYNC110 (the server is in another thread)
            await asyncio.sleep(0.01)
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader
        assert await asyncio.to_thread(server.wait_for_disconnects, 1, timeout=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_one_connection_serves_one_question_after_the_other(server: ModelServer, protocol: str) -> None:
    async with opened(server, protocol) as model:
        for _ in range(5):
            await ask(model)
    assert server.connections == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_hundred_questions_at_once_are_not_mixed_up(server: ModelServer, protocol: str) -> None:
    server.default = Reply(text=lambda question: f"you asked {question}", delay=0.002)
    async with opened(server, protocol) as model:

        async def one(number: int) -> None:
            question = f"what is {number}?"
            text, _ = await ask(model, [ChatMessage(role="user", content=question)])
            assert text == f"you asked {question}"

        await asyncio.gather(*map(one, range(100)))
    assert len(server.requests) == 100


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_refused_connection_is_unavailable(server: ModelServer, protocol: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        address = {"ollama_base_url": url} if protocol == "ollama" else {"base_url": f"{url}/v1"}
        async with opened(server, protocol, **address) as model:
            _, error = await fails(model, ModelUnavailable)
            assert not await model.ready()
    assert "cannot be reached" in str(error)
    assert isinstance(error, ModelUnavailable)
    assert error.retry_after > 0


async def test_an_unknown_host_is_unavailable(server: ModelServer) -> None:
    async with opened(server, base_url="http://no-such-host.invalid/v1", max_retries=0) as model:
        await fails(model, ModelUnavailable)


async def test_plain_http_behind_https_is_unavailable_and_says_why(server: ModelServer) -> None:
    async with opened(server, base_url=server.openai_url.replace("http:", "https:"), max_retries=0) as model:
        _, error = await fails(model, ModelUnavailable)
    assert "secure connection" in str(error)


@pytest.mark.parametrize("parameter", ["stream_options", "temperature"])
async def test_a_parameter_that_the_server_does_not_know_is_left_out_from_then_on(
    server: ModelServer, parameter: str
) -> None:
    server.default = Reply(fault="refused-parameter", parameter=parameter)
    async with opened(server) as model:
        assert (await ask(model))[0] == ANSWER
        assert (await ask(model))[0] == ANSWER
    assert [parameter in request.body for request in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("parameter", "refusal"),
    [
        ("max_tokens", "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
        ("max_tokens", "max_tokens is too large: 9000. This model supports at most 8192 completion tokens"),
        ("max_tokens", "max_tokens 9000 is not supported by scripted-1"),
        ("max_tokens", "unsupported max_tokens: not allowed > 8192"),
        ("max_tokens", "Invalid max_tokens"),
        ("temperature", "Unsupported value: 'temperature' does not support 1.9 with this model."),
        ("temperature", "temperature 1.9 is not supported"),
        ("temperature", "temperature must be between 0 and 1 inclusive; 1.9 is not allowed"),
        ("temperature", "Extra high: temperature exceeds 1"),
        ("temperature", "This model does not support temperature above 1."),
        ("temperature", "This model does not support parameter temperature above 1."),
        ("temperature", "The value of temperature is not supported."),
        ("temperature", "Unsupported parameter value: temperature"),
        ("max_tokens", "max_tokens beyond your plan limit of 8192 are not supported"),
        ("max_tokens", "Unsupported field max_tokens: 9000"),
        ("max_tokens", "'max_tokens' or 'max_completion_tokens' is too large: 9000."),
    ],
)
async def test_a_value_that_the_server_refuses_is_that_requests_own_affair(
    server: ModelServer, parameter: str, refusal: str
) -> None:
    above = {"max_tokens": 8192, "temperature": 1}[parameter]
    server.default = Reply(fault="refused-parameter", parameter=parameter, above=above, refusal=refusal)
    async with opened(server, max_tokens=512) as model:
        with pytest.raises(ModelRejected):
            await ask(model, max_tokens=9000, temperature=1.9)
        await ask(model)
    assert [request.body.get(parameter) is not None for request in server.requests] == [True, True]
    assert server.requests[-1].body["max_tokens"] == 512


@pytest.mark.parametrize("kind", ["unsupported_value", "invalid_request_error"])
async def test_a_stop_sequence_that_the_server_refuses_is_that_requests_own_affair(
    server: ModelServer, kind: str
) -> None:
    for quoted in ("###", "Unknown parameter: stop", "', unknown\nparameter: 'stop"):
        server.requests.clear()
        server.default = Reply(
            fault="refused-parameter",
            parameter="stop",
            refusal=f"Unsupported stop sequence '{quoted}'",
            refusal_code=kind,
        )
        async with opened(server) as model:
            with pytest.raises(ModelRejected):
                await ask(model, stop=[quoted])
            server.default = Reply()
            await ask(model, stop=["END"])
        assert [request.body["stop"] for request in server.requests] == [[quoted], ["END"]]


async def test_a_model_that_takes_only_the_default_temperature_answers(server: ModelServer) -> None:
    server.default = Reply(
        fault="refused-parameter",
        parameter="temperature",
        refusal="Unsupported value: 'temperature' does not support 0.1 with this model. Only the default (1) value is "
        "supported.",
        refusal_code="unsupported_value",
    )
    async with opened(server) as model:
        for temperature in (0.1, 0.1, 0.5):
            assert (await ask(model, temperature=temperature))[0] == ANSWER
    assert [request.body.get("temperature") for request in server.requests] == [0.1, None, None, 0.5, None]


async def test_a_temperature_that_was_refused_changes_no_request_with_another(server: ModelServer) -> None:
    server.default = Reply(
        fault="refused-parameter",
        parameter="temperature",
        above=1,
        refusal="temperature: only the default is supported",
    )
    async with opened(server) as model:
        await ask(model, temperature=1.7)
        await ask(model, temperature=0.5)
    assert [request.body.get("temperature") for request in server.requests] == [1.7, None, 0.5]


@pytest.mark.parametrize(
    "refusal",
    [
        "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model.",
        "This model does not support structured outputs.",
    ],
)
async def test_a_server_without_schemas_answers_freely(server: ModelServer, refusal: str) -> None:
    schema = {"type": "object", "properties": {}}
    server.default = Reply(fault="refused-parameter", parameter="response_format", refusal=refusal)
    async with opened(server) as model:
        for _ in range(2):
            assert (await ask(model, schema=schema))[0] == ANSWER
    assert [request.body.get("response_format", {}).get("type") for request in server.requests] == [
        "json_schema",
        "json_object",
        None,
        None,
    ]


STRICT = {
    "type": "object",
    "properties": {"place": {"type": "object", "properties": {}, "required": [], "additionalProperties": False}},
    "required": ["place"],
    "additionalProperties": False,
}
LOOSE = {**STRICT, "required": []}


@pytest.mark.parametrize(
    ("schema", "refused", "asked"),
    [
        (STRICT, "", ["strict", "strict"]),
        (LOOSE, "strict", ["json_schema", "json_schema"]),
        (STRICT, "strict", ["strict", "json_schema", "json_schema"]),
        (STRICT, "json_schema", ["strict", "json_schema", "json_object", "json_object"]),
        ({"type": "object"}, "", ["json_object", "json_object"]),
        ({"type": "object"}, "json_object", ["json_object", "none", "none"]),
    ],
)
async def test_a_schema_is_asked_for_as_strictly_as_the_server_takes_it_and_that_is_remembered(
    server: ModelServer, schema: dict[str, object], refused: str, asked: list[str]
) -> None:
    server.default = Reply(fault="refused-form", parameter=refused)
    async with opened(server) as model:
        for _ in range(2):
            assert (await ask(model, schema=schema))[0] == ANSWER
    forms = [request.body.get("response_format", {"type": "none"}) for request in server.requests]
    assert ["strict" if form.get("json_schema", {}).get("strict") else form["type"] for form in forms] == asked


async def test_what_one_schema_is_refused_is_asked_of_another(server: ModelServer) -> None:
    server.default = Reply(fault="refused-form", parameter="strict")
    other = {**STRICT, "title": "Other"}
    async with opened(server) as model:
        for schema in (STRICT, other, STRICT):
            await ask(model, schema=schema)
    strict = [request.body["response_format"]["json_schema"].get("strict", False) for request in server.requests]
    assert strict == [True, False, True, False, False]


async def test_ollama_gets_the_schema_as_its_format(server: ModelServer) -> None:
    schema = {"type": "object", "properties": {}}
    async with opened(server, "ollama") as model:
        assert (await ask(model, schema=schema))[0] == ANSWER
        assert (await ask(model))[0] == ANSWER
    assert [request.body.get("format") for request in server.requests] == [schema, None]


@pytest.mark.parametrize("parameter", ["temperature", "stop", "max_tokens"])
@pytest.mark.parametrize("code", ["unsupported_parameter", "unknown_parameter"])
async def test_a_parameter_that_the_server_does_not_take_is_found_in_its_code(
    server: ModelServer, parameter: str, code: str
) -> None:
    server.default = Reply(fault="refused-parameter", parameter=parameter, refusal="No.", refusal_code=code)
    async with opened(server) as model:
        for _ in range(2):
            assert (await ask(model, stop=["END"]))[0] == ANSWER
    assert [parameter in request.body for request in server.requests] == [True, False, False]


@pytest.mark.parametrize(
    ("parameter", "refusal"),
    [
        ("temperature", "Unsupported parameter: 'temperature' is not supported with this model."),
        ("temperature", "Model grok-4 does not support parameter temperature."),
        (
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead.",
        ),
        ("stream_options", "Unrecognized request argument supplied: stream_options"),
        ("stream_options", "Invalid stream_options: no such value"),
        ("stream_options", 'Invalid JSON payload received. Unknown name "stream_options": Cannot find field.'),
        ("stop", "[{'type': 'extra_forbidden', 'loc': ('body', 'stop'), 'msg': 'Extra inputs are not permitted'}]"),
        ("stop", "stop: Extra inputs are not permitted"),
        ("stop", "Argument not supported on this model: stop"),
        ("stop", "property 'stop' is unsupported"),
        ("stop", "create() got an unexpected keyword argument 'stop'"),
        ("stop", "Unrecognized request arguments supplied: functions, stop"),
        ("stop", "Additional properties are not allowed ('stop' was unexpected)"),
        ("stop", "'stop' is not a recognized parameter"),
        ("temperature", "`temperature` is not supported for this model."),
    ],
)
async def test_a_parameter_that_the_server_does_not_take_is_found_in_its_words(
    server: ModelServer, parameter: str, refusal: str
) -> None:
    server.default = Reply(fault="refused-parameter", parameter=parameter, refusal=refusal)
    async with opened(server) as model:
        for _ in range(2):
            assert (await ask(model, stop=["END"]))[0] == ANSWER
    assert [parameter in request.body for request in server.requests] == [True, False, False]


@pytest.mark.parametrize("protocol", ["chat", "completions"])
async def test_the_end_mark_ends_an_answer_that_gives_no_reason(server: ModelServer, protocol: str) -> None:
    server.default = Reply(fault="no-reason")
    async with opened(server, protocol) as model:
        text, finish = await ask(model)
    words = len(ANSWER.split())
    assert (text, finish.finish_reason) == (ANSWER, "stop")
    assert finish.usage == Usage(PROMPT_TOKENS, words, PROMPT_TOKENS + words)
    assert len(server.requests) == 1


async def test_the_token_limit_goes_by_the_name_that_the_model_takes(server: ModelServer) -> None:
    server.default = Reply(fault="refused-parameter", parameter="max_tokens")
    async with opened(server) as model:
        await ask(model, max_tokens=9)
    assert server.requests[-1].body["max_completion_tokens"] == 9
    assert "max_tokens" not in server.requests[-1].body


async def test_readiness_is_asked_of_the_server_rarely_and_costs_no_tokens(server: ModelServer) -> None:
    async with opened(server) as model:
        assert all([await model.ready() for _ in range(20)])
    assert [look.path for look in server.looks] == ["/v1/models"]
    assert server.requests == []


async def test_an_ollama_without_the_model_is_not_ready(server: ModelServer) -> None:
    async with opened(server, "ollama", model="absent") as model:
        assert "ollama pull absent" in (await model.unready_reason() or "")


async def test_a_failed_answer_is_told_for_a_while(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(server, max_retries=0) as model:
        server.script(Reply(fault="unauthorized"))
        await fails(model, ModelRejected)
        assert model.doubt is not None
        monkeypatch.setattr("server.engines.models.model.DOUBT_SECONDS", 0.0)
        assert model.doubt is None


async def test_a_model_that_answers_again_is_told_once(server: ModelServer) -> None:
    async with opened(server, max_retries=0) as model:
        server.script(Reply(fault="unauthorized"), Reply(fault="unauthorized"))
        with structlog.testing.capture_logs() as entries:
            for _ in range(2):
                await fails(model, ModelRejected)
            for _ in range(2):
                await ask(model)
    told = [(entry["event"], entry["provider"], entry["model"]) for entry in entries]
    assert told == [("model_call_failed", "openai_like", "scripted")] * 2 + [
        ("the model answers again", "openai_like", "scripted")
    ]


async def test_a_failed_answer_is_told_until_the_next_good_one_and_its_server_is_looked_at_again(
    server: ModelServer,
) -> None:
    async with opened(server, max_retries=0) as model:
        assert await model.ready()
        assert model.doubt is None
        server.script(Reply(fault="unauthorized"), Reply(fault="context-length"))
        await fails(model, ModelRejected)
        assert await model.ready()  # the key may see the list
        assert len(server.looks) == 2
        refused = model.doubt
        assert refused is not None
        assert "its last answer failed" in refused
        await fails(model, ModelTooLong)  # which is that question's own affair
        assert model.doubt == refused
        await ask(model)
        assert model.doubt is None
