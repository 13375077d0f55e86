"""Spans of HTTP requests: FastAPI's own, without the parts of addresses and headers that clients choose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue

from config.settings import TelemetrySettings

UNTRACED = frozenset({"/health", "/ready", "/metrics"})
"""Polled by machines: neither traced nor counted."""

# paths, query strings and the Host header may hold anything; the route names the endpoint
TOLD = frozenset({"http.request.method", "url.scheme", "network.protocol.version"})


def http_telemetry(settings: TelemetrySettings) -> TelemetryConfig:
    """Return how FastAPI shall trace and count requests, by OpenTelemetry's conventions for HTTP."""
    return {
        "tracing": settings.enabled,
        "metrics": settings.enabled,
        "logs": False,  # errors are logged by us, without what they quote
        "operation_spans": False,
        "auto_configure": False,
        "tracer_provider": _Provider(told=None if settings.content == "full" else TOLD),
        "exclude": _is_untraced,
    }


def _is_untraced(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in UNTRACED


class _Provider(TracerProvider):
    """The process's tracer provider, with fewer attributes on each span."""

    def __init__(self, *, told: frozenset[str] | None) -> None:
        self._told = told

    def get_tracer(self, instrumenting_module_name: str, *args: Any, **kwargs: Any) -> Tracer:
        return _Tracer(trace.get_tracer(instrumenting_module_name, *args, **kwargs), told=self._told)


class _Tracer(Tracer):
    def __init__(self, tracer: Tracer, *, told: frozenset[str] | None) -> None:
        self._tracer = tracer
        self._told = told

    def start_span(  # type: ignore[override] # the rest is handed on
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Mapping[str, AttributeValue] | None = None,
        **options: Any,
    ) -> Span:
        if self._told is not None and attributes is not None:
            attributes = {name: value for name, value in attributes.items() if name in self._told}
        return self._tracer.start_span(name, context, kind, attributes, **options)

    @contextmanager
    def start_as_current_span(self, name: str, *args: Any, **kwargs: Any) -> Iterator[Span]:  # type: ignore[override]
        with self._tracer.start_as_current_span(name, *args, **kwargs) as span:
            yield span
