"""What is counted of feedback, and what stands on the trace."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, datetime

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.scripted import FeedbackInMemory

from config.settings import TelemetrySettings
from config.telemetry import metrics, spans
from config.telemetry.setup import make_meter_provider, make_tracer_provider
from server.services.feedback import rate
from storage.chat.feedback import NewFeedback, RatedAnswer
from storage.errors import StoreUnavailable

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SECRET = "MARKED-SECRET"


@pytest.fixture
def counted(monkeypatch):
    """Count with a real meter; return a function that reads the ratings' counts."""
    reader = InMemoryMetricReader()
    meter = make_meter_provider(reader, resource=Resource.create()).get_meter("footnote")
    monkeypatch.setattr(metrics, "FEEDBACK", meter.create_counter("footnote.feedback", unit="{rating}"))

    def read():
        data = reader.get_metrics_data()
        if data is None:
            return {}
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert all(set(point.attributes) == {"footnote.rating"} for point in metric.data.data_points)
        return {point.attributes["footnote.rating"]: point.value for point in metric.data.data_points}

    return read


@pytest.fixture
def traced(monkeypatch):
    """Trace with a real tracer, into memory."""
    exporter = InMemorySpanExporter()
    provider = make_tracer_provider(TelemetrySettings(), SimpleSpanProcessor(exporter), resource=Resource.create())
    monkeypatch.setattr(spans, "_tracer", provider.get_tracer("footnote"))
    return exporter


async def test_a_rating_is_counted_and_told_on_its_trace(counted, traced):
    await rate(FeedbackInMemory(), NewFeedback(TRACE, "down"))
    (span,) = traced.get_finished_spans()
    assert (f"{span.context.trace_id:032x}", span.name) == (TRACE, "footnote.feedback")
    assert dict(span.attributes) == {"footnote.rating": "down"}
    assert counted() == {"down": 1}


async def test_a_comment_that_follows_its_rating_is_no_second_one_but_another_rating_is(counted, traced):
    store = FeedbackInMemory()
    await rate(store, NewFeedback(TRACE, "up"))
    await rate(store, NewFeedback(TRACE, "up", comment="as I said"))
    assert counted() == {"up": 1}
    await rate(store, NewFeedback(TRACE, "down", comment="no, after all"))
    assert counted() == {"up": 1, "down": 1}
    assert len(traced.get_finished_spans()) == 2


async def test_nothing_that_people_wrote_is_in_the_span(counted, traced):
    given = NewFeedback(TRACE, "up", SECRET, SECRET, SECRET, (SECRET,), collection="default")
    await rate(FeedbackInMemory(), given)
    assert SECRET not in "".join(span.to_json() for span in traced.get_finished_spans())
    assert counted() == {"up": 1}


async def test_what_was_not_kept_is_not_counted(counted, traced):
    class Down(FeedbackInMemory):
        async def put(self, given):
            raise StoreUnavailable(given.trace_id)

    with pytest.raises(StoreUnavailable):
        await rate(Down(), NewFeedback(TRACE, "up"))
    assert counted() == {}
    assert traced.get_finished_spans() == ()


def test_a_line_of_the_export_stays_one_line_of_ascii_whatever_was_written():
    text = "two\nlines,\u2028 a separator,\x85 quotes \" and “ ”, 😀, ' OR 1=1; --"
    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    told = {field.name: None for field in fields(RatedAnswer)}
    told |= {"comment": text, "document_ids": (text,), "created_at": now, "updated_at": now}
    line = RatedAnswer(**told).json_line()
    assert line.isascii()
    assert len(line.splitlines()) == 1
    read = json.loads(line)
    assert (read["comment"], read["document_ids"]) == (text, [text])
    assert read["created_at"] == "2026-01-02T03:04:05+00:00"
    assert list(read) == [field.name for field in fields(RatedAnswer)]
