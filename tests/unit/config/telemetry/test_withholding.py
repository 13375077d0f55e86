"""Texts in spans that others make, on their way out."""

import re
from pathlib import Path

import pytest
from openinference.semconv.trace import (
    DocumentAttributes,
    EmbeddingAttributes,
    MessageAttributes,
    MessageContentAttributes,
    RerankerAttributes,
    SpanAttributes,
    ToolAttributes,
    ToolCallAttributes,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

from config.settings import TelemetrySettings
from config.telemetry.setup import make_tracer_provider
from config.telemetry.spans import Content
from config.telemetry.withholding import Withholding

DOCUMENTED = Path(__file__).parents[4] / "docs" / "operations" / "telemetry.md"
SECRET = "who is wombat@example.org"
OF_OTHERS = {
    **dict.fromkeys(
        [
            f"{SpanAttributes.LLM_INPUT_MESSAGES}.0.{MessageAttributes.MESSAGE_CONTENT}",
            (
                f"{SpanAttributes.LLM_OUTPUT_MESSAGES}.12.{MessageAttributes.MESSAGE_CONTENTS}.0."
                f"{MessageContentAttributes.MESSAGE_CONTENT_TEXT}"
            ),
            (
                f"{SpanAttributes.LLM_OUTPUT_MESSAGES}.0.{MessageAttributes.MESSAGE_TOOL_CALLS}.0."
                f"{ToolCallAttributes.TOOL_CALL_FUNCTION_ARGUMENTS_JSON}"
            ),
            f"{SpanAttributes.RETRIEVAL_DOCUMENTS}.0.{DocumentAttributes.DOCUMENT_CONTENT}",
            f"{SpanAttributes.RETRIEVAL_DOCUMENTS}.0.{DocumentAttributes.DOCUMENT_METADATA}",
            f"{SpanAttributes.RETRIEVAL_DOCUMENTS}.0.{DocumentAttributes.DOCUMENT_ID}",
            f"{SpanAttributes.EMBEDDING_EMBEDDINGS}.0.{EmbeddingAttributes.EMBEDDING_TEXT}",
            f"{RerankerAttributes.RERANKER_OUTPUT_DOCUMENTS}.0.{DocumentAttributes.DOCUMENT_CONTENT}",
            RerankerAttributes.RERANKER_QUERY,
            *(value for name, value in vars(ToolAttributes).items() if name.endswith("SCHEMA")),
            SpanAttributes.INPUT_VALUE,
            SpanAttributes.OUTPUT_VALUE,
            SpanAttributes.LLM_PROMPTS,
            SpanAttributes.LLM_PROMPT_TEMPLATE,
            SpanAttributes.LLM_PROMPT_TEMPLATE_VARIABLES,
            SpanAttributes.LLM_INVOCATION_PARAMETERS,
            SpanAttributes.METADATA,
            SpanAttributes.TAG_TAGS,
            SpanAttributes.USER_ID,
            "gen_ai.prompt",
            "gen_ai.completion",
            "gen_ai.prompt.0.content",
            "gen_ai.input.messages",
            "gen_ai.output.messages",
            "gen_ai.system_instructions",
            "gen_ai.tool.call.arguments",
            "gen_ai.tool.call.result",
            "gen_ai.tool.definitions",
            "gen_ai.tool.description",
            "gen_ai.retrieval.query.text",
            "gen_ai.retrieval.documents",
            "gen_ai.request.stop_sequences",
            "traceloop.entity.input",
            "db.statement",
            "db.query.text",
            "db.query.parameter.0",
            "server.address",
            "session.id",
            "url.full",
            "url.query",
            "http.target",
            "http.request.header.authorization",
            "exception.message",
            "exception.stacktrace",
            "query",
            "nodes.0.node.text",
            "footnote.question",  # by another than Footnote
            "error.type ",
            "a-name.of.nobody's",
            SECRET,
        ],
        SECRET,
    ),
    "messages": (SECRET, SECRET),
    f"numbers.{SECRET}": 7,
    "document.metadata.age": 61,
    "input.value.0": 61,
    "metadata.year": 1912,
    "embedding.embeddings.0.embedding.vector": (0.5, 0.25),
    "blob": (0.1,) * 65,
    "bytes": b"wombat",
    "several.bytes": (b"wombat", b"wombat"),
}
OPEN = {
    "openinference.span.kind": "RETRIEVER",
    "input.mime_type": "text/plain",
    "llm.model_name": "m",
    "llm.token_count.prompt": 11,
    "llm.token_count.prompt_details.cache_read": 3,
    "llm.cost.total": 0.5,
    "llm.input_messages.0.message.role": "user",
    "retrieval.documents.0.document.score": 0.7,
    "gen_ai.operation.name": "chat",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.output_tokens": 5,
    "http.request.method": "GET",
    "http.response.status_code": 200,
    "db.system.name": "postgresql",
    "db.client.connection.pool.name": "footnote",
    "error.type": "ValueError",
    "reranker.top_k": 3,
    "some.flag": True,
}


def exported(mode, make, *, scope="openinference.instrumentation.llama_index"):
    """Let a span be made and exported; return it, and all that left as a text."""
    kept = InMemorySpanExporter()
    processor = SimpleSpanProcessor(Withholding(kept, content=Content(mode, max_bytes=64)))
    provider = make_tracer_provider(TelemetrySettings(), processor, resource=Resource({}))
    limits = provider._span_limits
    limits.max_span_attributes = limits.max_attributes = None
    make(provider.get_tracer(scope))
    provider.shutdown()
    (span,) = kept.get_finished_spans()
    parts = [span, *span.events, *span.links]
    return span, repr([span.name, span.status.description, *(dict(part.attributes) for part in parts)])


@pytest.mark.parametrize("name", list(OF_OTHERS))
def test_no_text_of_others_leaves_in_the_mode_none(name):
    span, text = exported("none", lambda tracer: tracer.start_span("s", attributes={name: OF_OTHERS[name]}).end())
    assert dict(span.attributes) == {}
    assert "wombat" not in text


def test_what_holds_no_text_leaves_as_it_is():
    span, _ = exported("none", lambda tracer: tracer.start_span("s", attributes=OPEN).end())
    assert dict(span.attributes) == OPEN


def test_events_links_and_messages_of_errors_hold_no_text_either():
    def make(tracer):
        other = SpanContext(1, 2, is_remote=False)
        span = tracer.start_span("s", links=[Link(other, {"why": SECRET, "llm.model_name": "m"})])
        span.add_event("gen_ai.user.message", {"content": SECRET, "gen_ai.system": "openai"})
        span.add_event("QueryStart", {"query": SECRET})
        span.record_exception(ValueError(SECRET))
        span.set_status(Status(StatusCode.ERROR, SECRET))
        span.end()

    for scope in ("other", "footnote"):
        span, text = exported("none", make, scope=scope)
        assert "wombat" not in text
        names = ["gen_ai.user.message", "QueryStart", "exception"]
        assert [event.name for event in span.events] == names
        assert dict(span.events[0].attributes) == {"gen_ai.system": "openai"}
        assert span.events[2].attributes["exception.type"] == "ValueError"
        assert dict(span.links[0].attributes) == {"llm.model_name": "m"}
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, None)


def test_what_another_writes_into_our_span_is_kept_back_and_ours_is_not():
    own = {"footnote.mode": "hybrid", "footnote.scores": (0.5, 0.25), "db.query.summary": "SELECT a"}
    span, _ = exported(
        "none", lambda tracer: tracer.start_span("s", attributes={**own, **OF_OTHERS}).end(), scope="footnote"
    )
    assert dict(span.attributes) == {**own, "footnote.question": SECRET}  # only Footnote writes it, and as it may


def test_every_attribute_that_is_documented_leaves_a_span_of_ours():
    whole, _, _ = DOCUMENTED.read_text().partition("TELEMETRY__CONTENT=redacted` or `full`")
    table = whole.partition("| Attribute |")[2]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    names = [name for row in rows for name in re.findall(r"`([a-z_]+\.[a-z0-9_.]+)`", row)]
    assert len(names) > 40
    texts = {"gen_ai.usage": 1, "gen_ai.embeddings": 1, "gen_ai.request.m": 1, "gen_ai.request.temp": 0.5}
    given = {name: next((value for start, value in texts.items() if name.startswith(start)), "x") for name in names}
    given |= {"gen_ai.request.model": "m", "gen_ai.request.stream": True, "gen_ai.response.time_to_first_chunk": 0.5}
    given |= {"http.response.status_code": 200} if "http.response.status_code" in given else {}
    span, _ = exported("none", lambda tracer: tracer.start_span("s", attributes=given).end(), scope="footnote")
    assert dict(span.attributes) == given


def test_redacted_masks_and_cuts_the_texts_of_others():
    def make(tracer):
        span = tracer.start_span("s", attributes={**OF_OTHERS, "long": "x" * 1000, **OPEN})
        span.add_event("e", {"content": SECRET})
        span.set_status(Status(StatusCode.ERROR, SECRET))
        span.end()

    span, text = exported("redacted", make)
    assert "wombat@example.org" not in text
    assert not {"bytes", "several.bytes"} & set(span.attributes)
    assert span.attributes["input.value"] == "who is [redacted]"
    assert list(span.attributes["messages"]) == ["who is [redacted]"] * 2
    assert len(span.attributes["long"]) == 64
    assert OPEN.items() <= span.attributes.items()
    assert not {"url.full", "url.query", "server.address", "http.request.header.authorization"} & set(span.attributes)


def test_full_hands_all_on():
    span, _ = exported("full", lambda tracer: tracer.start_span("s", attributes=OF_OTHERS).end())
    assert dict(span.attributes) == OF_OTHERS


def test_what_a_span_is_stays():
    def make(tracer):
        with tracer.start_as_current_span("outer"):
            pass

    span, _ = exported("none", make)
    assert (span.name, span.start_time <= span.end_time) == ("outer", True)
    assert span.instrumentation_scope.name == "openinference.instrumentation.llama_index"
    assert span.context.trace_flags.sampled
    assert span.kind.name == "INTERNAL"
