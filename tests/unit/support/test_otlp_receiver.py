"""The tests' receiver of telemetry, against OpenTelemetry's own exporters."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from opentelemetry import trace
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from support.otlp import Receiver, start_receiver

RESOURCE = Resource({"service.name": "tests"})
SPAN_EXPORTERS = {
    "grpc": lambda receiver, **more: GrpcSpans(receiver.grpc_url, insecure=True, **more),
    "http": lambda receiver, **more: HttpSpans(f"{receiver.http_url}/v1/traces", **more),
    "http-gzip": lambda receiver, **more: HttpSpans(
        f"{receiver.http_url}/v1/traces", compression=Compression.Gzip, **more
    ),
}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with start_receiver() as started:
        yield started


def _provider(exporter: SpanExporter) -> TracerProvider:
    provider = TracerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=100))
    return provider


@pytest.fixture(params=SPAN_EXPORTERS)
def tracing(request, receiver) -> Iterator[TracerProvider]:
    provider = _provider(SPAN_EXPORTERS[request.param](receiver, headers={"x-tenant": "blue"}))
    yield provider
    receiver.recover()
    provider.shutdown()


def _trace(provider: TracerProvider) -> str:
    tracer = provider.get_tracer("made-up")
    with tracer.start_as_current_span("POST /query", kind=trace.SpanKind.SERVER) as root:
        with tracer.start_as_current_span("answer", attributes={"n": 3, "list": ["a", "ü"]}) as answer:
            answer.add_event("first token", {"at": 0.5})
            with tracer.start_as_current_span("SELECT"):
                pass
        with tracer.start_as_current_span("late") as late:
            late.set_status(trace.StatusCode.ERROR, "model-failed")
    return f"{root.get_span_context().trace_id:032x}"


def test_a_trace_arrives_whole_over_each_protocol(receiver, tracing):
    trace_id = _trace(tracing)
    assert tracing.force_flush()
    assert receiver.tree(trace_id) == ["POST /query", "  answer", "    SELECT", "  late"]
    root, answer = receiver.span("POST /query"), receiver.span("answer")
    assert (root.kind, root.parent_id, answer.parent_id) == ("server", None, root.span_id)
    assert answer.attributes == {"n": 3, "list": ["a", "ü"]}
    assert [(event.name, event.attributes) for event in answer.events] == [("first token", {"at": 0.5})]
    late = receiver.span("late")
    assert (late.status_code, late.status_message) == ("error", "model-failed")
    assert (root.scope, root.resource["service.name"]) == ("made-up", "tests")
    assert root.covers(late)
    assert not late.covers(root)
    assert receiver.deliveries[0].headers["x-tenant"] == "blue"


def test_what_was_compressed_can_be_looked_for(receiver, tracing):
    with tracing.get_tracer("made-up").start_as_current_span("a", attributes={"text": "Größe " * 100}):
        pass
    assert tracing.force_flush()
    assert "Größe Größe" in receiver.text


def test_a_refused_trace_was_sent_but_not_accepted(receiver, tracing):
    receiver.refuse(400)
    _trace(tracing)
    tracing.force_flush()
    assert "POST /query" in receiver.text
    assert receiver.spans() == []
    assert {delivery.status for delivery in receiver.deliveries} == {400}


def test_a_trace_refused_for_the_moment_comes_again(receiver, tracing):
    receiver.refuse(503)
    _trace(tracing)
    receiver.wait_for(lambda: receiver.deliveries)
    receiver.recover()
    assert receiver.wait_for(receiver.spans)


@pytest.mark.parametrize("protocol", SPAN_EXPORTERS)
def test_an_exporter_gives_up_on_a_receiver_that_hangs(receiver, protocol):
    receiver.hang()
    provider = _provider(SPAN_EXPORTERS[protocol](receiver, timeout=0.5))
    _trace(provider)
    provider.force_flush()  # it comes back though nothing was answered
    assert receiver.deliveries
    provider.shutdown()


def test_a_receiver_that_was_closed_can_open_at_its_addresses(receiver, tracing):
    before = (receiver.http_url, receiver.grpc_url)
    _trace(tracing)
    assert tracing.force_flush()
    receiver.close()
    for url in before:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", urlsplit(url).port)).close()
    receiver.open()
    assert (receiver.http_url, receiver.grpc_url) == before
    trace_id = _trace(tracing)
    assert receiver.wait_for(lambda: receiver.spans(trace_id))


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_metrics_arrive_with_labels_buckets_and_exemplars(receiver, protocol):
    exporter = {
        "grpc": lambda: GrpcMetrics(receiver.grpc_url, insecure=True),
        "http": lambda: HttpMetrics(f"{receiver.http_url}/v1/metrics"),
    }[protocol]()
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=100)
    provider = MeterProvider([reader], resource=RESOURCE, shutdown_on_exit=False)
    meter = provider.get_meter("made-up")
    counter = meter.create_counter("asked", unit="{question}")
    histogram = meter.create_histogram("took", unit="s", explicit_bucket_boundaries_advisory=[1, 5])
    counter.add(1, {"mode": "hybrid"})
    counter.add(1, {"mode": "hybrid"})
    counter.add(5, {"mode": "vector"})
    with TracerProvider().get_tracer("t").start_as_current_span("s") as span:
        histogram.record(0.5)
        histogram.record(3)
    receiver.wait_for(lambda: receiver.points("took"))
    counter.add(1, {"mode": "hybrid"})
    receiver.wait_for(lambda: [point for point in receiver.points("asked", {"mode": "hybrid"}) if point.value == 3])
    provider.shutdown()
    assert {point.attributes["mode"]: point.value for point in receiver.metrics()["asked"]} == {
        "hybrid": 3,
        "vector": 5,
    }
    [took] = receiver.points("took")
    assert (took.kind, took.unit, took.count, took.value) == ("histogram", "s", 2, 3.5)
    assert took.buckets == {1: 1, 5: 1, float("inf"): 0}
    assert {exemplar.trace_id for exemplar in took.exemplars} == {f"{span.get_span_context().trace_id:032x}"}


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_logs_arrive(receiver, protocol):
    exporter = {
        "grpc": lambda: GrpcLogs(receiver.grpc_url, insecure=True),
        "http": lambda: HttpLogs(f"{receiver.http_url}/v1/logs"),
    }[protocol]()
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
    record = LogRecord(
        body="it rained", severity_text="WARN", severity_number=SeverityNumber.WARN, attributes={"mm": 4}
    )
    provider.get_logger("made-up").emit(record)
    assert provider.force_flush()
    provider.shutdown()
    [log] = receiver.logs()
    assert (log.body, log.severity, log.attributes, log.resource["service.name"]) == (
        "it rained",
        "WARN",
        {"mm": 4},
        "tests",
    )


def test_waiting_in_vain_says_what_came(receiver):
    with pytest.raises(AssertionError, match="0 deliveries"):
        receiver.wait_for(receiver.spans, timeout=0.05)
