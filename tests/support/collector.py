"""What the OpenTelemetry Collector of ``deploy/`` shows Prometheus of ingestions, in place of it: it cannot run here.

with start_receiver() as receiver, start_exporter(receiver) as address:
    ...  # an ingestion sends its metrics to the receiver; Prometheus scrapes the address
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.exporter.prometheus._mapping import map_unit, sanitize_attribute, sanitize_full_name
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from support.otlp import Receiver
from support.otlp_records import Point

FAMILIES = {"sum": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class _Shown(Collector):
    """The receiver's metrics; as in ``deploy/otel-collector.yaml``, those of ingestions only."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def collect(self) -> Iterable[Metric]:
        for name, points in self._receiver.metrics().items():
            if name.startswith("footnote.ingestion."):
                yield _family(name, points)

    def describe(self) -> Iterable[Metric]:
        return ()


def _family(name: str, points: list[Point]) -> Metric:
    labelled = [{**_own(point), **_given(point)} for point in points]
    keys = sorted({key for labels in labelled for key in labels})
    family = FAMILIES[points[0].kind](sanitize_full_name(name), name, labels=keys, unit=map_unit(points[0].unit))
    for point, labels in zip(points, labelled, strict=True):
        _add(family, point, [labels.get(key, "") for key in keys])
    return family


def _own(point: Point) -> dict[str, str]:
    return {"job": point.resource["service.name"], "instance": point.resource["service.instance.id"]}


def _given(point: Point) -> dict[str, str]:
    return {sanitize_attribute(key): str(value) for key, value in point.attributes.items()}


def _add(family: Metric, point: Point, labels: list[str]) -> None:
    if not isinstance(family, HistogramMetricFamily):
        family.add_metric(labels, point.value)
        return
    buckets, so_far = [], 0
    for bound, count in point.buckets.items():
        so_far += count
        buckets.append(("+Inf" if bound == float("inf") else str(bound), so_far))
    family.add_metric(labels, buckets, sum_value=point.value)


@contextlib.contextmanager
def start_exporter(receiver: Receiver) -> Iterator[str]:
    """Show what a receiver was sent at ``/metrics``; yields the address, ``host:port``."""
    registry = CollectorRegistry()
    registry.register(_Shown(receiver))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = generate_latest(registry)
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
