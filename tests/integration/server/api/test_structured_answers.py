"""Answers by a JSON schema, and the model without documents, with real clients over everything real but the model."""

import json
from typing import Any

import httpx
import openai
import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel
from support.environment import make_settings
from support.indexed import index
from support.model_server import Reply, start_model_server
from support.openai_clients import MODEL, connect
from support.scripted import running

from server.app import create_app
from server.runtime import open_runtime

TEXTS = {"lighthouse.md": "The lighthouse of Ostrava Bay was built in 1871 by the engineer Milada Novak."}
ASKED: list[Any] = [{"role": "user", "content": "Who built the lighthouse of Ostrava Bay?"}]


class Builder(BaseModel):
    name: str
    year: int | None


WRITTEN = '{"name": "Milada Novak", "year": 1871}'
FOUND = Builder(name="Milada Novak", year=1871)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "builder", "schema": Builder.model_json_schema()}}
QUERY = {"question": ASKED[0]["content"], "response_format": SCHEMA}


@pytest.fixture(scope="module")
def model_server():
    with start_model_server() as server:
        yield server


@pytest.fixture
async def url(database, embedder, settings, model_server, monkeypatch):
    await index(database, embedder, TEXTS)
    model_server.requests.clear()
    model_server.default = Reply(text=WRITTEN)
    monkeypatch.setattr("server.runtime.open_embedder", lambda _: embedder)
    monkeypatch.setattr(embedder, "close", lambda: None)
    llm = {
        "provider": "openai_like",
        "base_url": model_server.openai_url,
        "api_key": "k",
        "model": "m",
        "max_retries": 0,
    }
    chosen = make_settings(settings.database.url.get_secret_value(), settings.data_dir, llm=llm)
    with running(create_app(chosen, open_runtime=open_runtime)) as server:
        yield server.url


@pytest.fixture
def client(url):
    return connect(url)


@pytest.mark.parametrize("model", [MODEL, "footnote/none"])
def test_the_official_client_parses_an_answer_into_a_class(client, model_server, model):
    answer = client.chat.completions.parse(model=model, messages=ASKED, response_format=Builder)
    message = answer.choices[0].message
    assert message.parsed == FOUND
    assert bool(message.citations) == (model == MODEL)
    asked = model_server.requests[-1].body
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["name", "year"]
    assert '"year"' in str(asked["messages"][0]["content"])  # told in words, too


def test_a_stream_by_a_schema_is_json_in_the_end(client):
    with client.chat.completions.stream(model=MODEL, messages=ASKED, response_format=Builder) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.parsed == FOUND


@pytest.mark.parametrize("stream", [False, True])
def test_a_function_that_must_be_called_is_an_answer_by_its_parameters(client, stream):
    function = {"name": "builder", "description": "a builder", "parameters": Builder.model_json_schema()}
    tools: Any = [{"type": "function", "function": function}]
    choice: Any = {"type": "function", "function": {"name": "builder"}}
    if stream:
        with client.chat.completions.stream(model=MODEL, messages=ASKED, tools=tools, tool_choice=choice) as events:
            for _ in events:
                pass
            message = events.get_final_completion().choices[0].message
    else:
        answer = client.chat.completions.create(model=MODEL, messages=ASKED, tools=tools, tool_choice=choice)
        message = answer.choices[0].message
    call = message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("builder", FOUND.model_dump())
    assert not message.content


@pytest.mark.parametrize(
    "options", [{"should_use_structured_outputs": True}, {"is_function_calling_model": True}, {}], ids=str
)
def test_llamaindex_s_structured_predict_works(url, options):
    llm = OpenAILike(model=MODEL, api_base=f"{url}/v1", api_key="none", is_chat_model=True, max_retries=0, **options)
    prompt = PromptTemplate("Who built the lighthouse of {bay}?")
    assert llm.structured_predict(Builder, prompt, bay="Ostrava Bay") == FOUND
    instructed = ChatPromptTemplate(
        [ChatMessage(role="system", content="Be exact."), ChatMessage(role="user", content=ASKED[0]["content"])]
    )
    assert llm.structured_predict(Builder, instructed) == FOUND


def test_a_schema_that_llamaindex_writes_into_a_message_is_not_searched_for(url, client, model_server):
    llm = OpenAILike(model=MODEL, api_base=f"{url}/v1", api_key="none", is_chat_model=True, max_retries=0)
    assert llm.structured_predict(Builder, PromptTemplate(ASKED[0]["content"])) == FOUND
    asked = model_server.requests[-1].body
    assert asked["response_format"]["json_schema"]["schema"]["required"] == ["name", "year"]
    assert "repeat the schema" not in str(asked["messages"])
    with pytest.raises(ValueError, match="nothing about this"):
        llm.structured_predict(Builder, PromptTemplate("What is the tariff on zirconium imports in Bolivia?"))
    own = (
        ASKED[0]["content"]
        + "\n\n\nHere's a JSON schema to follow:\n{no}\n\nOutput a valid JSON object but do not repeat the schema."
    )
    model_server.default = Reply(text="Milada Novak [1].")
    answer = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": own}])
    assert answer.choices[0].message.content == "Milada Novak [1]."


def test_query_honours_a_schema_and_gives_it_again_from_the_cache_of_neither(url):
    answer = httpx.post(f"{url}/query", json=QUERY, timeout=20)
    assert answer.status_code == 200, answer.text
    assert json.loads(answer.json()["answer"]) == FOUND.model_dump()
    assert answer.json()["citations"][0]["source"] == "lighthouse.md"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Milada Novak built it.", "did not write JSON"),
        ('{"name": "Milada Novak"}', "$ has no 'year'"),
        ('{"name": 5, "year": 1871}', "$.name is not of type string"),
        ('{"name": "M", "year": "never"}', "$.year fits none of anyOf"),
    ],
)
def test_what_is_not_by_the_schema_is_an_error_and_never_an_answer(url, model_server, written, said):
    model_server.default = Reply(text=written)
    for body in (QUERY, {**QUERY, "stream": True}):
        answer = httpx.post(f"{url}/query", json=body, timeout=20)
        assert said.replace("'", "") in answer.text.replace("'", "").replace("\\u0027", "")
        assert "event: done" not in answer.text


def test_json_in_a_fence_counts_and_one_that_is_cut_is_told(url, model_server):
    model_server.default = Reply(text=f"```json\n{WRITTEN}\n```")
    assert json.loads(httpx.post(f"{url}/query", json=QUERY, timeout=20).json()["answer"])["year"] == 1871
    model_server.default = Reply(text=WRITTEN[:9], finish_reason="length")
    cut = httpx.post(f"{url}/query", json={**QUERY, "k": 3}, timeout=20)
    assert (cut.status_code, "higher max_tokens" in cut.text) == (502, True)


@pytest.mark.parametrize("stream", [False, True])
def test_where_nothing_is_found_the_answer_is_a_refusal(client, model_server, stream):
    options = {"extra_body": {"footnote": {"document_ids": ["none-such"]}}}
    if stream:
        with client.chat.completions.stream(model=MODEL, messages=ASKED, response_format=Builder, **options) as events:
            for _ in events:
                pass
            message = events.get_final_completion().choices[0].message
    else:
        message = (
            client.chat.completions.parse(model=MODEL, messages=ASKED, response_format=Builder, **options)
            .choices[0]
            .message
        )
    assert not message.content
    assert "nothing about this" in message.refusal
    assert not model_server.requests


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"response_format": {"type": "json_schema"}}, "needs the member json_schema"),
        ({"response_format": {"type": "xml"}}, "response_format"),
        ({"model": "footnote/none", "footnote": {"k": 3}}, "searches no documents"),
        ({"response_format": SCHEMA, "footnote": {"mode": "summary"}}, "is not written in the mode"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "chooses among no tools"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "auto"}, "chooses among no tools"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(url, body, said):
    answer = httpx.post(f"{url}/v1/chat/completions", json={"model": MODEL, "messages": ASKED, **body}, timeout=20)
    assert answer.status_code in {400, 422}, answer.text
    assert said in answer.text


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "$.type must be one of array,"),
        ({"type": []}, "$.type must be one of"),
        ({"properties": {"a": {"type": ["string", "nil"]}}}, "$.properties.a.type"),
        ({"properties": []}, "$.properties must be an object"),
        ({"required": True}, "$.required must be a list"),
        ({"enum": "a"}, "$.enum must be a list"),
        ({"anyOf": []}, "$.anyOf must be a list"),
        ({"items": {"$ref": "#/$defs/none"}}, "$.items.$ref points at nothing"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, "$.$ref points at nothing"),
        ({"items": {"$ref": "https://example.com/a"}}, "$.items.$ref must point within"),
    ],
)
def test_a_schema_that_no_answer_could_be_checked_by_is_refused(url, model_server, schema, said):
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    function = {"type": "function", "function": {"name": "f", "parameters": schema}}
    for body, param in (
        ({"response_format": form}, "response_format.json_schema.schema"),
        ({"tools": [function], "tool_choice": "required"}, "tools[0].function.parameters"),
    ):
        answer = httpx.post(f"{url}/v1/chat/completions", json={"model": MODEL, "messages": ASKED, **body}, timeout=20)
        assert answer.status_code == 400, answer.text
        assert said in answer.json()["error"]["message"]
        assert answer.json()["error"]["param"] == param
    assert not model_server.requests


def test_hostile_schemas_are_refused_or_bounded(url, model_server):
    deep: dict[str, Any] = {"type": "object"}
    for _ in range(40):
        deep = {"type": "object", "properties": {"a": deep}}
    circle = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/a"}]}}}
    slow = {"type": "object", "properties": {"name": {"type": "string", "pattern": "^(a+)+$"}}}
    model_server.default = Reply(text='{"name": "' + "a" * 40 + '!"}')
    wide = {"anyOf": [{"type": "string"}] * 1_500}
    for schema, status in ((deep, 422), (wide, 502), ({"x": "y" * 40_000}, 422), (circle, 200), (slow, 200)):
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        answer = httpx.post(f"{url}/query", json={**QUERY, "response_format": form}, timeout=20)
        assert answer.status_code == status, answer.text


def test_the_model_without_documents_gets_the_messages_as_they_are(client, model_server):
    model_server.default = Reply(text="A stock engine's prompt.")
    long = "Context information is below.\n" + "word " * 5000 + "\nQuery: who?"
    messages: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": long}]
    answer = client.chat.completions.create(model="footnote/none", messages=messages)
    assert answer.choices[0].message.content == "A stock engine's prompt."
    assert answer.choices[0].message.citations == []
    sent = model_server.requests[-1].body["messages"]
    assert [message["role"] for message in sent] == ["system", "user"]
    assert sent[0]["content"] == "Be brief."
    assert sent[1]["content"] == long.strip()
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=MODEL, messages=messages)


def test_a_stock_llamaindex_llm_streams_from_the_model_without_documents(url, model_server):
    model_server.default = Reply(text="one two three")
    llm = OpenAILike(model="footnote/none", api_base=f"{url}/v1", api_key="none", is_chat_model=True, max_retries=0)
    pieces = [piece.delta for piece in llm.stream_chat([ChatMessage(role="user", content="count")])]
    assert "".join(filter(None, pieces)) == "one two three"
    assert len(pieces) > 2
