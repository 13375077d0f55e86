"""Metrics for Prometheus, with exemplars, which link a point of a graph to a trace.

OpenTelemetry's exporter for Prometheus omits exemplars. They are added here, in OpenMetrics' format
(https://prometheus.io/docs/specs/om/open_metrics_spec/#exemplars).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from threading import Lock
from typing import Any, cast

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Metric, MetricsData
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

COUNT_AND_SUM = 2  # samples of a histogram's point, after one for each of its buckets


class ScrapedReader(PrometheusMetricReader):
    """A metric reader that collects on demand."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        super().__init__(scope_info_enabled=False, registry=self._registry)
        self._exemplified = CollectorRegistry()
        self._exemplified.register(_Exemplified(self))
        self.histograms: Sequence[Metric] = ()
        self._one_at_a_time = Lock()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """Return the metrics and their content type: OpenMetrics if it is accepted, else Prometheus' text format."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # an invalid version
            encode, content_type = choose_encoder("")
        with self._one_at_a_time:
            return encode(self._exemplified), content_type

    def families(self) -> Iterable[Family]:
        """Collect, and return the exporter's text; `histograms` are then those that it was made from."""
        return list(self._registry.collect())

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        self.histograms = [
            metric
            for resource in metrics_data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if isinstance(metric.data, Histogram)
        ]
        super()._receive_metrics(metrics_data, timeout_millis, **kwargs)


class _Exemplified(Collector):
    def __init__(self, reader: ScrapedReader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[Family]:
        families = self._reader.families()
        histograms = iter(self._reader.histograms)  # the exporter keeps their order
        for family in families:
            if family.type == "histogram":
                points = cast("Iterable[HistogramDataPoint]", next(histograms).data.data_points)
                family.samples = list(_with_exemplars(family.samples, points))
            yield family

    def describe(self) -> Iterable[Family]:
        return ()


def _with_exemplars(samples: Sequence[Sample], points: Iterable[HistogramDataPoint]) -> Iterator[Sample]:
    rest = iter(samples)
    for point in points:
        found = {
            bisect_left(point.explicit_bounds, exemplar.value): Exemplar(
                {"trace_id": f"{exemplar.trace_id:032x}", "span_id": f"{exemplar.span_id:016x}"},
                exemplar.value,
                exemplar.time_unix_nano / 1e9,
            )
            for exemplar in point.exemplars
            if exemplar.trace_id is not None and exemplar.span_id is not None
        }
        for bucket in range(len(point.explicit_bounds) + 1):
            yield next(rest)._replace(exemplar=found.get(bucket))
        for _ in range(COUNT_AND_SUM):
            yield next(rest)
