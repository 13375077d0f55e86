"""A client's tools through `/v1` to the language model: with real clients over everything real but the model."""

import contextlib
import json
from typing import Any

import httpx
import openai
import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from support.environment import make_settings
from support.model_server import PROMPT_TOKENS, Reply, start_model_server
from support.openai_clients import MODEL, connect
from support.scripted import running

from server.app import create_app
from server.runtime import open_runtime

NONE = "footnote/none"
SCHEMA = {"type": "object", "properties": {"bay": {"type": "string"}}, "required": ["bay"]}
TIDE: Any = {"type": "function", "function": {"name": "tide", "description": "When it is high.", "parameters": SCHEMA}}
WIND: Any = {"type": "function", "function": {"name": "wind", "description": "How it blows.", "parameters": SCHEMA}}
OSTRAVA, BRNO = '{"bay": "Ostrava Bay"}', '{"bay": "Brnö"}'
TWO = (("tide", OSTRAVA), ("wind", BRNO))
ASK: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "When is high tide? Is it windy?"}]
CALLED: Any = {
    "role": "assistant",
    "content": None,
    "tool_calls": [
        {"id": "a", "type": "function", "function": {"name": "tide", "arguments": OSTRAVA}},
        {"id": "b", "type": "function", "function": {"name": "wind", "arguments": BRNO}},
    ],
}
RESULTS: Any = [
    {"role": "tool", "tool_call_id": "a", "content": "05:12 [1]"},
    {"role": "tool", "tool_call_id": "b", "content": "calm"},
]


@pytest.fixture(scope="module")
def model_server():
    with start_model_server() as server:
        yield server


@pytest.fixture(scope="module")
def other_server():
    with start_model_server() as server:
        yield server


@pytest.fixture
def served(settings, embedder, monkeypatch):
    """Return what serves with some settings of the language model."""
    monkeypatch.setattr("server.runtime.open_embedder", lambda _: embedder)
    monkeypatch.setattr(embedder, "close", lambda: None)

    @contextlib.contextmanager
    def serve(*, groups=None, **llm):
        dsn, llm = settings.database.url.get_secret_value(), {"max_retries": 0, **llm}
        chosen = make_settings(dsn, settings.data_dir, llm=llm, **groups or {})
        with running(create_app(chosen, open_runtime=open_runtime)) as server:
            yield server.url

    return serve


def openai_like(server, **more):
    return {"provider": "openai_like", "base_url": server.openai_url, "api_key": "k", "model": "m", **more}


def ollama(server, **more):
    return {"provider": "ollama", "ollama_base_url": server.ollama_url, "model": "scripted", **more}


def plugged(server, **more):
    """LlamaIndex's own class of function-calling models."""
    arguments = {
        "api_base": server.openai_url,
        "api_key": "k",
        "model": "m",
        "is_chat_model": True,
        "is_function_calling_model": True,
    }
    return {"class": "llama_index.llms.openai_like.OpenAILike", "arguments": arguments, **more}


PROVIDERS = {"openai_like": openai_like, "ollama": ollama, "class": plugged}


@pytest.fixture(params=PROVIDERS)
def url(request, served, model_server):
    model_server.requests.clear()
    model_server.default = Reply()
    with served(**PROVIDERS[request.param](model_server)) as address:
        yield address


@pytest.fixture
def compatible(served, model_server):
    model_server.requests.clear()
    model_server.default = Reply()
    with served(**openai_like(model_server)) as address:
        yield address


def asked(url: str, *, stream: bool, messages: Any = ASK, **options: Any) -> Any:
    """Return the answer's choice and usage, whichever way it came."""
    client = connect(url)
    if not stream:
        answer = client.chat.completions.create(model=NONE, messages=messages, **options)
        return answer.choices[0], answer.usage
    with client.chat.completions.stream(
        model=NONE, messages=messages, stream_options={"include_usage": True}, **options
    ) as events:
        for _ in events:
            pass
        answer = events.get_final_completion()
    return answer.choices[0], answer.usage


def named(choice: Any) -> list[tuple[str, Any]]:
    return [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or ()]


@pytest.mark.parametrize("stream", [False, True])
def test_several_calls_at_once_come_to_the_client_with_their_ids_usage_and_reason(url, model_server, stream):
    model_server.script(Reply(text="Let me look.", calls=TWO))
    choice, usage = asked(url, stream=stream, tools=[TIDE, WIND])
    assert named(choice) == [("tide", json.loads(OSTRAVA)), ("wind", json.loads(BRNO))]
    assert len({call.id for call in choice.message.tool_calls}) == 2
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert usage.prompt_tokens == PROMPT_TOKENS or usage.is_estimate  # LlamaIndex's class asks a stream for no count
    told = model_server.requests[-1].body["tools"]
    assert [tool["function"]["name"] for tool in told] == ["tide", "wind"]
    assert told[0]["function"]["parameters"]["required"] == ["bay"]
    assert told[0]["function"]["description"] == "When it is high."


@pytest.mark.parametrize("stream", [False, True])
def test_results_of_tools_reach_the_model_and_its_answer_is_text_again(url, model_server, stream):
    model_server.script(Reply(text="At 05:12, and calm."))
    choice, _ = asked(url, stream=stream, messages=[*ASK, CALLED, *RESULTS], tools=[TIDE, WIND])
    assert (choice.message.content, choice.finish_reason) == ("At 05:12, and calm.", "stop")
    assert not choice.message.tool_calls
    sent = model_server.requests[-1].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert [message["content"] for message in sent[3:]] == ["05:12 [1]", "calm"]
    calls = [call["function"] for call in sent[2]["tool_calls"]]
    given = [
        json.loads(each["arguments"]) if isinstance(each["arguments"], str) else each["arguments"] for each in calls
    ]
    assert given == [json.loads(OSTRAVA), json.loads(BRNO)]
    names = [message.get("tool_call_id") or message.get("tool_name") for message in sent[3:]]
    assert names in (["a", "b"], ["tide", "wind"])


@pytest.mark.parametrize("stream", [False, True])
def test_the_question_after_a_result_is_asked_with_all_that_was_said(compatible, model_server, stream):
    model_server.script(Reply(text="Tomorrow at 06:00."))
    messages = [*ASK, CALLED, *RESULTS, {"role": "assistant", "content": "05:12."}, {"role": "user", "content": "And?"}]
    choice, _ = asked(compatible, stream=stream, messages=messages)
    assert choice.message.content == "Tomorrow at 06:00."
    assert [each["role"] for each in model_server.requests[-1].body["messages"]][-2:] == ["assistant", "user"]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "function": {"name": "wind"}}, {"type": "function", "function": {"name": "wind"}}),
    ],
    ids=["auto", "none", "required", "named"],
)
def test_the_choice_of_tools_reaches_the_server_as_it_was_made(compatible, model_server, choice, sent):
    model_server.script(Reply(text="" if choice != "none" else "Calm.", calls=() if choice == "none" else TWO[1:]))
    answered, _ = asked(compatible, stream=True, tools=[TIDE, WIND], tool_choice=choice, parallel_tool_calls=False)
    assert named(answered) == ([] if choice == "none" else [("wind", json.loads(BRNO))])
    body = model_server.requests[-1].body
    assert (body["tool_choice"], body["parallel_tool_calls"]) == (sent, False)


def test_a_streamed_call_comes_in_pieces_the_first_with_id_and_name(compatible, model_server):
    model_server.script(Reply(text="", calls=TWO))
    stream = connect(compatible).chat.completions.create(model=NONE, messages=ASK, tools=[TIDE, WIND], stream=True)
    pieces = [piece for chunk in stream for choice in chunk.choices for piece in choice.delta.tool_calls or ()]
    assert [piece.index for piece in pieces if piece.id] == [0, 1]
    assert [piece.function.name for piece in pieces if piece.id] == ["tide", "wind"]
    assert len(pieces) > 4
    assert "".join(piece.function.arguments for piece in pieces if piece.index == 1) == BRNO


def test_calls_of_a_server_without_ids_and_numbers_are_told_apart(compatible, model_server):
    model_server.script(Reply(text="", calls=TWO, call_ids=False))
    choice, _ = asked(compatible, stream=True, tools=[TIDE, WIND])
    assert [name for name, _ in named(choice)] == ["tide", "wind"]
    assert len({call.id for call in choice.message.tool_calls}) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_that_must_be_made_and_is_not_is_an_error(compatible, model_server, stream):
    model_server.script(Reply(text="I would rather talk."))
    with pytest.raises(openai.APIError, match="called no tool"):
        asked(compatible, stream=stream, tools=[TIDE, WIND], tool_choice="required")


def test_one_function_that_must_be_called_is_still_answered_by_its_schema(url, model_server):
    model_server.script(Reply(text=OSTRAVA))
    choice, _ = asked(url, stream=False, tools=[TIDE], tool_choice="required")
    assert named(choice) == [("tide", json.loads(OSTRAVA))]
    assert choice.finish_reason == "tool_calls"


def test_a_call_that_is_cut_is_told_as_too_long(compatible, model_server):
    model_server.script(Reply(text="", calls=TWO[:1], finish_reason="length"))
    answer = connect(compatible).chat.completions.create(model=NONE, messages=ASK, tools=[TIDE])
    assert answer.choices[0].finish_reason == "length"


def test_before_its_answer_by_a_schema_a_model_may_call_tools(compatible, model_server):
    form: Any = {"type": "json_schema", "json_schema": {"name": "bay", "schema": SCHEMA}}
    model_server.script(Reply(text="", calls=TWO[:1]), Reply(text=OSTRAVA))
    choice, _ = asked(compatible, stream=False, tools=[TIDE, WIND], response_format=form)
    assert named(choice) == [("tide", json.loads(OSTRAVA))]
    messages = [*ASK, CALLED, *RESULTS]
    choice, _ = asked(compatible, stream=False, messages=messages, tools=[TIDE, WIND], response_format=form)
    assert json.loads(choice.message.content) == json.loads(OSTRAVA)


def test_what_ollama_cannot_be_told_is_refused_by_name(served, model_server):
    model_server.requests.clear()
    with served(**ollama(model_server)) as url:
        with pytest.raises(openai.BadRequestError, match="Ollama cannot be told") as refused:
            asked(url, stream=False, tools=[TIDE, WIND], tool_choice="required")
        assert refused.value.param == "tools"
    assert not model_server.requests


def test_a_class_that_calls_no_functions_is_named(served):
    with served(**{"class": "support.plugged_llms.SleepyLLM"}) as url:
        for stream in (False, True):
            with pytest.raises(openai.BadRequestError, match=r"SleepyLLM, .* calls no functions"):
                asked(url, stream=stream, tools=[TIDE, WIND])


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        ({"tools": [TIDE, WIND]}, "tools", "footnote/none"),
        ({"tools": [TIDE, WIND], "tool_choice": "required"}, "tools", "footnote/none"),
        ({"messages": [*ASK, CALLED, *RESULTS]}, "messages.2.tool_calls", "footnote/none"),
        ({"messages": [*ASK, *RESULTS], "model": NONE}, "messages.2.tool_call_id", "earlier message"),
        (
            {"tools": [TIDE], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
            "names none",
        ),
        (
            {"messages": [{"role": "user", "content": "a", "tool_calls": CALLED["tool_calls"]}], "model": NONE},
            "",
            "only",
        ),
        ({"messages": [*ASK, {"role": "assistant", "content": "x"}], "model": NONE}, "messages.2.role", "last message"),
    ],
)
def test_what_a_model_with_documents_cannot_do_is_refused_by_its_field(compatible, body, field, said):
    answer = httpx.post(f"{compatible}/v1/chat/completions", json={"model": MODEL, "messages": ASK, **body}, timeout=20)
    assert answer.status_code == 400, answer.text
    assert said in answer.json()["error"]["message"]
    assert (answer.json()["error"]["param"] or "").startswith(field.split(".")[0])


@pytest.mark.parametrize("stream", [False, True])
def test_a_fallback_calls_tools_after_a_failure_and_for_a_model_that_cannot(served, model_server, other_server, stream):
    groups = {"llms": {"other": openai_like(other_server, model="other-m", max_retries=0)}}
    first = openai_like(model_server, fallback=["other"])
    with served(groups=groups, **first) as url:
        model_server.script(Reply(fault="server-error"))
        other_server.script(Reply(text="", calls=TWO))
        choice, usage = asked(url, stream=stream, tools=[TIDE, WIND])
        assert len(named(choice)) == 2
        assert usage.prompt_tokens == PROMPT_TOKENS
    unable = {"class": "support.plugged_llms.SleepyLLM", "fallback": ["other"]}
    with served(groups=groups, **unable) as url:
        other_server.script(Reply(text="", calls=TWO))
        choice, _ = asked(url, stream=stream, tools=[TIDE, WIND])
        assert len(named(choice)) == 2


def test_silence_and_cuts_before_calls_are_errors(served, model_server):
    with served(**openai_like(model_server, token_timeout=0.5)) as url:
        for fault in ("hang-first", "cut-first", "error-event"):
            model_server.script(Reply(text="", calls=TWO, fault=fault))
            with pytest.raises(openai.APIError):
                for _ in connect(url).chat.completions.create(
                    model=NONE, messages=ASK, tools=[TIDE, WIND], stream=True
                ):
                    pass


@pytest.mark.parametrize("streaming", [False, True])
async def test_llamaindex_s_function_agent_works_through_footnote(compatible, model_server, streaming):
    asked_for: list[str] = []

    def tide(bay: str) -> str:
        """When it is high."""
        asked_for.append(bay)
        return "05:12"

    llm = OpenAILike(
        model=NONE,
        api_base=f"{compatible}/v1",
        api_key="none",
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
    )
    agent = FunctionAgent(tools=[FunctionTool.from_defaults(tide)], llm=llm, streaming=streaming)
    model_server.script(Reply(text="", calls=TWO[:1]), Reply(text="High tide is at 05:12."))
    answer = await agent.run(user_msg="When is high tide in Ostrava Bay?")
    assert str(answer) == "High tide is at 05:12."
    assert asked_for == ["Ostrava Bay"]
    assert [message["role"] for message in model_server.requests[-1].body["messages"]][-2:] == ["assistant", "tool"]


async def test_llamaindex_streams_with_tools(compatible, model_server):
    llm = OpenAILike(
        model=NONE, api_base=f"{compatible}/v1", api_key="none", is_chat_model=True, is_function_calling_model=True
    )
    tools = [FunctionTool.from_defaults(lambda bay: bay, name=name, description="d") for name in ("tide", "wind")]
    model_server.script(Reply(text="", calls=TWO))
    asking = await llm.astream_chat_with_tools(tools, chat_history=[ChatMessage(role="user", content="go")])
    responses = [response async for response in asking]
    calls = llm.get_tool_calls_from_response(responses[-1])
    assert [(call.tool_name, call.tool_kwargs) for call in calls] == [(name, json.loads(given)) for name, given in TWO]
