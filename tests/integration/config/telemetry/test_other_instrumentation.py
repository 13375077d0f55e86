"""What other instrumentation records leaves through Footnote's exporter only as TELEMETRY__CONTENT lets it."""

import httpx
import pytest
from support.events import parse
from support.model_server import Reply
from support.otlp import start_receiver

MAIL = "keeper@lighthouse.example"
QUESTION = f"Who built the lighthouse, asks {MAIL}?"
PASSAGE = "was built in 1871 by the engineer"
ANSWER = "Milada Novak did so [1]."
PATIENCE = 60.0

# the stock instrumentors, as their documentation has them; Footnote sets the tracer provider when it starts
OPENINFERENCE = """
import sys
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

LlamaIndexInstrumentor().instrument()
from server.__main__ import main
sys.exit(main())
"""
LLAMA_INDEX_OTEL = """
import sys
from llama_index_instrumentation import get_dispatcher
from llama_index.observability.otel.base import OTelCompatibleEventHandler, OTelCompatibleSpanHandler
from opentelemetry import trace

handler = OTelCompatibleSpanHandler(tracer=trace.get_tracer("llamaindex.opentelemetry.tracer"))
get_dispatcher().add_span_handler(handler)
get_dispatcher().add_event_handler(OTelCompatibleEventHandler(span_handler=handler))
from server.__main__ import main
sys.exit(main())
"""
PROGRAMS = {"openinference": OPENINFERENCE, "llama-index-otel": LLAMA_INDEX_OTEL}
SCOPES = {
    "openinference": "openinference.instrumentation.llama_index",
    "llama-index-otel": "llamaindex.opentelemetry.tracer",
}


def asked(stack, receiver, *, program, content):
    """Ask a server with other instrumentation, whole and streamed; return all spans."""
    stack.fresh(default=Reply(text=ANSWER))
    env = {"TELEMETRY__ENDPOINT": receiver.http_url, "TELEMETRY__CONTENT": content, "CACHE__EMBEDDING_BYTES": "0"}
    with (
        stack.process(program=("-c", PROGRAMS[program]), forked=False, **env) as process,
        httpx.Client(base_url=process.url, timeout=PATIENCE) as http,
    ):
        ids = []
        for mode in ("hybrid", "fusion"):
            answer = http.post("/query", json={"question": QUESTION, "mode": mode}).raise_for_status().json()
            assert ANSWER[:12] in answer["answer"]
            ids.append(answer["trace_id"])
        stream = parse(http.post("/query/stream", json={"question": QUESTION}).text)
        ids.append(stream[0].data["trace_id"])
        assert http.post("/query", json={"question": QUESTION, "mode": "nonsense"}).status_code == 422
        for trace_id in ids:
            receiver.wait_for(lambda of=trace_id: [span for span in receiver.spans(of) if not span.parent_id])
    return [span for trace_id in ids for span in receiver.spans(trace_id)]


@pytest.fixture
def receiver():
    with start_receiver() as started:
        yield started


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("content", ["none", "redacted", "full"])
def test_texts_leave_as_the_setting_says_whoever_recorded_them(stack, receiver, program, content):
    spans = asked(stack, receiver, program=program, content=content)
    text = receiver.text
    assert SCOPES[program] in text  # they were exported
    names = {span.name for span in spans}
    assert "POST /query" in names
    if content == "none":
        assert not [word for word in (MAIL, "lighthouse,", PASSAGE, "Milada", "lighthouse.md") if word in text]
        if program == "openinference":
            assert "RETRIEVER" in {span.attributes.get("openinference.span.kind") for span in spans}
    elif content == "redacted":
        assert MAIL not in text
        assert "asks [redacted]" in text
        assert PASSAGE in text
    else:
        assert MAIL in text
        assert PASSAGE in text
