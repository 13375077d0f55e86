"""Setting OpenTelemetry up for a process, and shutting it down.

Exporters run on threads of their own, behind bounded queues. While a receiver is down, data are dropped, and one line
is logged.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from config.telemetry import spans

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    from config.settings import TelemetrySettings
    from config.telemetry.exposition import ScrapedReader

CONTENT_BYTES = 4096  # of each text recorded in a trace, at most
QUEUE_SPANS = 4096  # finished spans waiting to be sent; more are dropped, and counted
EXPORT_SECONDS = 5
CLOSING_SECONDS = 3.0
BATCH_SPANS = 512
BATCH_SECONDS = 1.0
MAX_ATTRIBUTES = 64
MAX_EVENTS = 16


@dataclass(frozen=True, slots=True)
class Telemetry:
    """A process's telemetry.

    Attributes:
        scraped: the reader for Prometheus; None if telemetry is off.

    """

    scraped: ScrapedReader | None = None

    @property
    def is_on(self) -> bool:
        """Whether telemetry is on."""
        return self.scraped is not None

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics and their content type; empty if telemetry is off. It may be called on any thread."""
        return self.scraped.exposition(accept) if self.scraped else (b"", "text/plain; charset=utf-8")


NO_TELEMETRY = Telemetry()


@contextmanager
def open_telemetry(settings: TelemetrySettings, *, version: str) -> Iterator[Telemetry]:
    """Set OpenTelemetry's global providers; at the end, export what is left, for `CLOSING_SECONDS` at most.

    Call it once per process.
    """
    if not settings.enabled:
        yield NO_TELEMETRY
        return
    from opentelemetry import metrics, propagate, trace

    from config.telemetry.exposition import ScrapedReader

    spans.let_in(content_of(settings))
    os.environ.setdefault("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "true")  # makes the SDK count what it drops
    scraped = ScrapedReader()
    resource = _resource(settings, version=version)
    meters = make_meter_provider(scraped, *_metric_exporter(settings), resource=resource)
    sent = settings if settings.endpoint else settings.model_copy(update={"sample_ratio": 0.0})  # where, else?
    tracers = make_tracer_provider(sent, *_span_exporter(settings, meters), resource=resource)
    metrics.set_meter_provider(meters)
    trace.set_tracer_provider(tracers)
    propagate.set_global_textmap(spans.PROPAGATOR)
    try:
        yield Telemetry(scraped)
    finally:
        _close(tracers, meters)


def content_of(settings: TelemetrySettings) -> spans.Content:
    """Return how texts are recorded."""
    return spans.Content(settings.content, max_bytes=CONTENT_BYTES)


def keep_to_own_propagation() -> None:
    """Override OTEL_PROPAGATORS: OpenTelemetry's API reads it at import, and fails on unknown names.

    Call it before that import. `open_telemetry` sets Footnote's own propagator.
    """
    os.environ["OTEL_PROPAGATORS"] = "tracecontext"


def make_tracer_provider(settings: TelemetrySettings, *processors: SpanProcessor, resource: Resource) -> TracerProvider:
    """Return a provider that samples as the settings say, and joins traces as `spans.remark` asks."""
    from opentelemetry.metrics import NoOpMeterProvider
    from opentelemetry.sdk.trace import SpanLimits, TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    class Ids(RandomIdGenerator):
        def generate_trace_id(self) -> int:
            return spans.trace_to_join() or super().generate_trace_id()

    provider = TracerProvider(
        sampler=ParentBased(TraceIdRatioBased(settings.sample_ratio)),
        resource=resource,
        id_generator=Ids(),
        shutdown_on_exit=False,
        meter_provider=NoOpMeterProvider(),  # three counts a span cost as much as the span; processors count batches
        span_limits=SpanLimits(max_span_attributes=MAX_ATTRIBUTES, max_events=MAX_EVENTS),
    )
    for processor in processors:
        provider.add_span_processor(processor)
    return provider


def make_meter_provider(*readers: MetricReader, resource: Resource) -> MeterProvider:
    """Return a provider whose exemplars are of sampled traces."""
    from opentelemetry.sdk.metrics import MeterProvider, TraceBasedExemplarFilter

    return MeterProvider(readers, resource=resource, exemplar_filter=TraceBasedExemplarFilter(), shutdown_on_exit=False)


def _resource(settings: TelemetrySettings, *, version: str) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create(
        {
            "service.name": settings.service_name,
            "service.version": version,
            "service.instance.id": str(uuid4()),
        }
    )


def _span_exporter(settings: TelemetrySettings, meters: MeterProvider) -> Iterator[SpanProcessor]:
    if settings.endpoint is None:
        return
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    from config.telemetry.exporters import open_exporter
    from config.telemetry.withholding import Withholding

    yield BatchSpanProcessor(
        Withholding(open_exporter(settings, "traces", timeout=EXPORT_SECONDS), content=content_of(settings)),
        max_queue_size=QUEUE_SPANS,
        schedule_delay_millis=BATCH_SECONDS * 1000,
        max_export_batch_size=BATCH_SPANS,
        meter_provider=meters,
    )


def _metric_exporter(settings: TelemetrySettings) -> Iterator[MetricReader]:
    if settings.endpoint is None:
        return
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from config.telemetry.exporters import open_exporter

    yield PeriodicExportingMetricReader(
        open_exporter(settings, "metrics", timeout=EXPORT_SECONDS),
        export_interval_millis=settings.metrics_interval * 1000,
        export_timeout_millis=EXPORT_SECONDS * 1000,
    )


def _close(*providers: Any) -> None:
    """Export what is queued; a receiver that does not answer delays the process for a bounded time in total."""
    threads = [threading.Thread(target=provider.shutdown, daemon=True) for provider in providers]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + CLOSING_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
