"""A chat's trace in Arize Phoenix, sent by a real server and read through Phoenix's own API."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from support.events import ending, parse
from support.model_server import PROMPT_TOKENS, Reply
from support.otlp_records import outline
from support.own_environments import python_of
from support.phoenix import Phoenix, PhoenixSpan, start_phoenix
from support.stack import ROOT, until

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1200)]  # Phoenix is installed before the first test

QUESTION = "Who built the lighthouse of Ostrava Bay?"
ANSWER = "Milada Novak built it in 1871 [1]."
PATIENCE = 60.0


@pytest.fixture(scope="module")
def phoenix() -> Iterator[Phoenix]:
    with start_phoenix(python_of("phoenix")) as started:
        yield started


@pytest.fixture(scope="module")
def http(stack, phoenix) -> Iterator[httpx.Client]:
    """Return a client of ``python -m server``, which tells Phoenix everything."""
    settings = {
        "DATA_DIR": str(stack.data_dir),
        "DATABASE__URL": stack.dsn,
        "SERVER__PORT": "0",
        "LLM__PROVIDER": "openai_like",
        "LLM__BASE_URL": stack.model.openai_url,
        "LLM__API_KEY": "k",
        "LLM__MODEL": "m",
        "LLM__MAX_RETRIES": "0",
        "TELEMETRY__ENDPOINT": phoenix.endpoint,
        "TELEMETRY__CONTENT": "full",
        "TELEMETRY__CONTENT_BYTES": "256",  # shorter than the prompt: what is cut must still be read
    }
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("FOOTNOTE_", "OTEL_"))}
    env = clean | {"PYTHONPATH": str(ROOT)} | {f"FOOTNOTE_{name}": value for name, value in settings.items()}
    log = stack.data_dir / "phoenix-server.log"
    with log.open("w") as err:
        popen = subprocess.Popen(
            [sys.executable, "-m", "server"], cwd=stack.data_dir, env=env, stdout=subprocess.PIPE, stderr=err, text=True
        )
    try:
        assert popen.stdout is not None
        line = popen.stdout.readline()
        assert line.startswith("Footnote is ready at "), log.read_text()
        with httpx.Client(base_url=line.split()[4], timeout=PATIENCE) as client:
            yield client
    finally:
        popen.send_signal(signal.SIGTERM)
        try:
            popen.communicate(timeout=PATIENCE)
        finally:
            popen.kill()


def chat(http: httpx.Client, message: str = QUESTION) -> tuple[str, str]:
    """Ask, read the stream to its end; return the trace's id, which the caller chose, and how it ended."""
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
    response = http.post("/chat/stream", json={"message": message}, headers=headers)
    return trace_id, ending(parse(response.text)).name


def lineage(spans: list[PhoenixSpan], span: PhoenixSpan) -> list[str]:
    """Return the names from the root down to a span."""
    known = {each.span_id: each for each in spans}
    names = [span.name]
    while (above := known.get(span.parent_id)) is not None:
        span = above
        names.insert(0, span.name)
    return names


def one(spans: list[PhoenixSpan], name: str) -> PhoenixSpan:
    found = [span for span in spans if span.name == name]
    assert len(found) == 1, outline(spans)
    return found[0]


@pytest.fixture(scope="module")
def told(stack, http, phoenix) -> list[PhoenixSpan]:
    """Return what Phoenix knows of a chat that went well."""
    stack.fresh(Reply(ANSWER))
    trace_id, end = chat(http)
    assert end == "done"
    return phoenix.trace(trace_id, names={"POST /chat/stream"})


def test_a_chat_is_one_tree_in_phoenix(told):
    tree = outline(told)
    assert [line for line in tree if not line.startswith(" ")] == ["POST /chat/stream"], tree
    root, answer, model = one(told, "POST /chat/stream"), one(told, "footnote.chat"), one(told, "chat m")
    [search] = [span for span in told if span.kind == "RETRIEVER"]
    [embedding] = [span for span in told if span.kind == "EMBEDDING"]
    [statement] = [span for span in told if span.name.startswith("SELECT footnote.data_generation_")]
    top = ["POST /chat/stream", "footnote.chat"]
    for span in (model, search, embedding, statement):
        assert lineage(told, span)[:2] == top, tree
    assert embedding.parent_id == statement.parent_id == search.span_id, tree
    assert embedding.end_ns <= statement.start_ns <= search.end_ns <= model.start_ns
    assert root.start_ns <= answer.start_ns
    assert model.end_ns <= answer.end_ns
    kept = [lineage(told, span) for span in told if span.name == "UPDATE footnote.turns"]
    assert kept == [["POST /chat/stream", "UPDATE footnote.turns"]], tree
    assert answer.attributes["footnote.outcome"] == "stop"


def test_phoenix_takes_a_call_of_the_model_for_what_it_is(told):
    model = one(told, "chat m")
    assert (model.kind, model.attributes["llm.model_name"], model.attributes["llm.finish_reason"]) == (
        "LLM",
        "m",
        "stop",
    )
    [embedding] = [span for span in told if span.kind == "EMBEDDING"]
    assert embedding.attributes["embedding.model_name"] == "all-MiniLM-L6-v2"


def test_phoenix_counts_each_token_once(told):
    counted = [span.name for span in told if "llm.token_count.total" in span.attributes]
    assert counted == ["chat m"]  # Phoenix adds up what the spans of a trace say
    assert one(told, "chat m").attributes["llm.token_count.total"] == PROMPT_TOKENS + len(ANSWER.split())


def test_phoenix_shows_what_was_said_where_the_operator_lets_it_in(told):
    model = one(told, "chat m").attributes
    said = [value for name, value in model.items() if name.startswith("llm.input_messages.") and ".content" in name]
    assert any(QUESTION in text for text in said), model
    assert model["llm.output_messages.0.message.content"] == ANSWER


def test_a_chat_whose_model_failed_is_an_error_in_phoenix(stack, http, phoenix):
    stack.fresh(Reply(fault="server-error"))
    trace_id, end = chat(http, "When was the lighthouse built?")
    assert end == "error"
    spans = phoenix.trace(trace_id, names={"POST /chat/stream"})
    model = one(spans, "chat m")
    assert (model.status_code, model.attributes["error.type"]) == ("ERROR", "model-failed")
    assert one(spans, "footnote.chat").status_code == "ERROR"


def test_traces_of_one_conversation_are_one_session_in_phoenix(stack, http, phoenix):
    stack.fresh(default=Reply(ANSWER))
    first = ending(parse(http.post("/chat/stream", json={"message": QUESTION}).text)).data
    conversation = first["conversation_id"]
    again = {"message": "And when?", "conversation_id": conversation}
    assert http.post("/chat/stream", json=again).status_code == httpx.codes.OK
    sessions = f"{phoenix.url}/v1/projects/default/sessions"

    def both() -> bool:
        found = httpx.get(sessions, params={"limit": 100}).raise_for_status().json()["data"]
        return any(each["session_id"] == conversation and len(each["traces"]) == 2 for each in found)

    assert until(both)
