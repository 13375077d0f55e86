"""What OTLP's payloads say, read into plain values that are handy in assertions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1 import trace_pb2

Attributes = Mapping[str, Any]


class Node(Protocol):
    """What a tree is made of: a span, whoever shows it."""

    @property
    def name(self) -> str: ...

    @property
    def span_id(self) -> str: ...

    @property
    def parent_id(self) -> str | None: ...

    @property
    def start_ns(self) -> int: ...

    @property
    def end_ns(self) -> int: ...


AnyNode = TypeVar("AnyNode", bound=Node)


@dataclass(frozen=True)
class Event:
    """Something that happened within a span; `at_ns` is in nanoseconds since 1970, as all times here."""

    name: str
    attributes: Attributes
    at_ns: int


@dataclass(frozen=True)
class Link:
    """Another span that a span belongs to."""

    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True)
class Span:
    """A finished span.

    Attributes:
        kind: internal, server, client, producer or consumer.
        trace_id, span_id, parent_id: in hexadecimal; a root has no parent.
        status_code: unset, ok or error.
        scope: name of the instrumentation.

    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: Attributes
    events: tuple[Event, ...]
    links: tuple[Link, ...]
    status_code: str
    status_message: str
    start_ns: int
    end_ns: int
    scope: str
    resource: Attributes

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return (self.end_ns - self.start_ns) / 1e9

    def covers(self, other: Span) -> bool:
        """Tell whether the other one began and ended within this one."""
        return self.start_ns <= other.start_ns and other.end_ns <= self.end_ns


@dataclass(frozen=True)
class Exemplar:
    """A measured value, and the span within which it was measured."""

    value: float
    trace_id: str
    span_id: str
    attributes: Attributes


@dataclass(frozen=True)
class Point:
    """The state of a metric for one set of labels.

    Attributes:
        kind: gauge, sum or histogram.
        value: a histogram's sum.
        count: of a histogram's values; else None.
        buckets: of a histogram: values up to and including each bound and above the one before it.

    """

    name: str
    kind: str
    unit: str
    attributes: Attributes
    resource: Attributes
    scope: str
    value: float
    count: int | None = None
    buckets: Mapping[float, int] = field(default_factory=dict)
    exemplars: tuple[Exemplar, ...] = ()


@dataclass(frozen=True)
class Log:
    """A log record."""

    body: Any
    severity: str
    attributes: Attributes
    trace_id: str
    span_id: str
    scope: str
    resource: Attributes


def read_spans(payload: bytes) -> Iterator[Span]:
    """Read an ``ExportTraceServiceRequest``."""
    for group in ExportTraceServiceRequest.FromString(payload).resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _span(span, scope=scope.scope.name, resource=_attributes(group.resource.attributes))


def read_points(payload: bytes) -> Iterator[Point]:
    """Read an ``ExportMetricsServiceRequest``."""
    for group in ExportMetricsServiceRequest.FromString(payload).resource_metrics:
        for scope in group.scope_metrics:
            for metric in scope.metrics:
                yield from _points(metric, scope=scope.scope.name, resource=_attributes(group.resource.attributes))


def read_logs(payload: bytes) -> Iterator[Log]:
    """Read an ``ExportLogsServiceRequest``."""
    for group in ExportLogsServiceRequest.FromString(payload).resource_logs:
        for scope in group.scope_logs:
            for record in scope.log_records:
                yield Log(
                    body=_value(record.body),
                    severity=record.severity_text,
                    attributes=_attributes(record.attributes),
                    trace_id=record.trace_id.hex(),
                    span_id=record.span_id.hex(),
                    scope=scope.scope.name,
                    resource=_attributes(group.resource.attributes),
                )


def _span(span: trace_pb2.Span, *, scope: str, resource: Attributes) -> Span:
    return Span(
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex() or None,
        attributes=_attributes(span.attributes),
        events=tuple(Event(event.name, _attributes(event.attributes), event.time_unix_nano) for event in span.events),
        links=tuple(Link(link.trace_id.hex(), link.span_id.hex(), _attributes(link.attributes)) for link in span.links),
        status_code=trace_pb2.Status.StatusCode.Name(span.status.code).removeprefix("STATUS_CODE_").lower(),
        status_message=span.status.message,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        scope=scope,
        resource=resource,
    )


def _points(metric: Metric, *, scope: str, resource: Attributes) -> Iterator[Point]:
    kind = metric.WhichOneof("data")
    for point in getattr(metric, kind).data_points if kind else ():
        common = {
            "name": metric.name,
            "kind": kind,
            "unit": metric.unit,
            "attributes": _attributes(point.attributes),
            "resource": resource,
            "scope": scope,
            "exemplars": tuple(_exemplar(exemplar) for exemplar in point.exemplars),
        }
        if kind == "histogram":
            bounds = [*point.explicit_bounds, float("inf")]
            buckets = dict(zip(bounds, point.bucket_counts, strict=False))  # a reader may leave the buckets out
            yield Point(**common, value=point.sum, count=point.count, buckets=buckets)
        else:
            yield Point(**common, value=_number(point))


def _exemplar(exemplar: Any) -> Exemplar:
    return Exemplar(
        _number(exemplar),
        exemplar.trace_id.hex(),
        exemplar.span_id.hex(),
        _attributes(exemplar.filtered_attributes),
    )


def _number(point: Any) -> float:
    return getattr(point, point.WhichOneof("value") or "as_double")


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case None:
            return None
        case kind:
            return getattr(value, kind)


def outline(spans: Iterable[Node]) -> list[str]:
    """Return the names of spans as an indented tree, each level by its start.

    A span whose parent is not among them stands at the margin: the parent is the caller's, or was lost.
    """
    return [f"{'  ' * depth}{span.name}" for depth, span in walk(spans)]


def walk(spans: Iterable[AnyNode]) -> Iterator[tuple[int, AnyNode]]:
    """Yield spans as `outline` lists them, each with its depth."""
    known = {span.span_id: span for span in spans}
    below: dict[str | None, list[AnyNode]] = {}
    for span in sorted(known.values(), key=lambda span: (span.start_ns, -span.end_ns)):
        below.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)

    def descend(parent: str | None, depth: int) -> Iterator[tuple[int, AnyNode]]:
        for span in below.get(parent, ()):
            yield depth, span
            yield from descend(span.span_id, depth + 1)

    yield from descend(None, 0)
