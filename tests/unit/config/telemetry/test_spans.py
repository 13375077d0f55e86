"""Spans as Footnote makes them."""

import asyncio
import time

import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from config.settings import TelemetrySettings
from config.telemetry import spans
from config.telemetry.setup import make_tracer_provider
from config.telemetry.spans import Content
from server.errors import Overloaded
from storage.errors import CollectionNotFound

SECRET = "wombat"


@pytest.fixture
def finished(monkeypatch):
    """Let spans be recorded; return a function from nothing to those that have ended, by name."""
    exporter = InMemorySpanExporter()
    provider = make_tracer_provider(TelemetrySettings(), SimpleSpanProcessor(exporter), resource=Resource({}))
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("tests"))
    token = context.attach(context.Context())
    yield lambda: {span.name: span for span in exporter.get_finished_spans()}
    context.detach(token)


def recorded(span):
    return [event.attributes["exception.type"] for event in span.events if event.name == "exception"]


def test_an_error_is_recorded_once_where_it_happened_and_named_everywhere(finished):
    with pytest.raises(Overloaded), spans.span("outer"), spans.span("inner"):
        raise Overloaded
    found = finished()
    assert recorded(found["inner"]) == ["server.errors.Overloaded"]
    assert recorded(found["outer"]) == []
    for span in found.values():
        assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "overloaded")
        assert span.status.description is None


def test_an_error_that_is_raised_as_another_is_recorded_once_too(finished):
    def broken():
        with spans.span("inner"):
            raise ValueError(SECRET)

    def translated():
        try:
            broken()
        except ValueError:
            raise Overloaded from None

    with pytest.raises(Overloaded), spans.span("outer"):
        translated()
    found = finished()
    assert recorded(found["inner"]) == ["builtins.ValueError"]
    assert recorded(found["outer"]) == []
    assert found["outer"].attributes["error.type"] == "overloaded"


def test_what_a_caller_asked_wrongly_is_named_and_no_error(finished):
    with pytest.raises(CollectionNotFound), spans.span("outer"):
        raise CollectionNotFound(SECRET)
    span = finished()["outer"]
    assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.UNSET, "collection-not-found")
    assert not span.events


def test_an_error_that_is_its_own_cause_is_told_all_the_same(finished):
    error, other = ValueError(), ValueError()
    error.__cause__, other.__cause__ = other, error
    with pytest.raises(ValueError), spans.span("outer"):  # noqa: PT011 (which one is plain)
        raise error
    assert len(recorded(finished()["outer"])) == 1


def test_what_an_error_says_is_in_no_span(finished):
    with pytest.raises(ValueError, match=SECRET), spans.span("outer"):
        raise ValueError(SECRET)
    assert SECRET not in finished()["outer"].to_json()


async def test_work_that_was_cancelled_has_not_failed(finished):
    async def work():
        with spans.span("work"):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = finished()["work"]
    assert (span.status.status_code, span.attributes["footnote.outcome"]) == (StatusCode.UNSET, "cancelled")
    assert not span.events


def test_a_trace_goes_on_where_its_carrier_comes(finished):
    with spans.span("here"):
        carrier = spans.carrier()
    assert set(carrier) == {"traceparent"}
    with spans.continued(carrier), spans.span("there"):
        pass
    found = finished()
    assert found["there"].context.trace_id == found["here"].context.trace_id
    assert found["there"].parent.span_id == found["here"].context.span_id


@pytest.mark.parametrize("broken", [{}, {"traceparent": ""}, {"traceparent": "00-zz-zz-01"}, {"other": "x"}])
def test_a_broken_carrier_is_as_good_as_none(finished, broken):
    with spans.continued(broken), spans.span("there"):
        pass
    assert finished()["there"].parent is None


def test_a_remark_is_in_its_trace_and_leaves_the_next_one_alone(finished):
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    with spans.span("request"):
        spans.remark(trace_id, "remark", {"footnote.rating": "up"})
    found = finished()
    assert f"{found['remark'].context.trace_id:032x}" == trace_id
    assert found["remark"].parent is None
    assert found["request"].context.trace_id != found["remark"].context.trace_id


def test_what_has_passed_is_a_span_of_its_length(finished):
    with spans.span("outer"):
        spans.past("wait", seconds=0.25, attributes={"a": "b"})
    found = finished()
    assert found["wait"].parent.span_id == found["outer"].context.span_id
    assert (found["wait"].end_time - found["wait"].start_time) / 1e9 == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(
    ("mode", "text", "shown"),
    [
        ("full", "write to ada@example.org", "write to ada@example.org"),
        ("redacted", "write to ada@example.org now", "write to [redacted] now"),
        ("redacted", "postgresql://ada:pass@db/x", "postgresql://[redacted]@db/x"),
        ("redacted", "Bearer abc.def", "Bearer [redacted]"),
        ("redacted", "x" * 61 + " sk-abcdefgh1234", "x" * 61 + " [r"),  # not even its beginning
        ("redacted", "key sk-proj-abcdefgh12345678", "key [redacted]"),
        ("redacted", "call +420 601 234 567 or 42", "call [redacted] or 42"),
        ("redacted", "in 1871, chapter 3.2", "in 1871, chapter 3.2"),
        ("full", "ř" * 100, "ř" * 32),  # two bytes each
    ],
)
def test_texts_are_shown_as_the_settings_say(finished, mode, text, shown):
    with spans.span("it") as span:
        Content(mode, max_bytes=64).put(span, "text", text)
    assert finished()["it"].attributes["text"] == shown


def test_what_is_personal_is_found_in_time_in_whatever_text():
    content = Content("redacted", max_bytes=16_384)
    for text in ("a" * 20_000, "://" + "a" * 20_000, "1" * 20_000, "a@" * 10_000, "bearer " * 3000):
        began = time.perf_counter()
        content.shown(text)
        assert time.perf_counter() - began < 2  # it took quadratic time: minutes


def test_texts_together_have_a_bound_too():
    seen = list(Content("full", max_bytes=64).fitting(["a" * 100] * 100))
    assert seen == ["a" * 64] * 4


def test_texts_are_left_out_unless_they_are_let_in(finished):
    with spans.span("it") as span:
        spans.content().put(span, "text", SECRET)
    assert "text" not in finished()["it"].attributes


def test_nothing_is_made_where_nobody_listens():
    assert not trace.get_current_span().is_recording()
    with spans.span("it") as span:
        spans.failed(span, ValueError())
    assert spans.carrier() == {}
