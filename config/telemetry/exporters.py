"""OpenTelemetry's OTLP exporters, which log once when their receiver fails and once when it works again."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, ClassVar, Literal
from urllib.parse import unquote

import structlog

if TYPE_CHECKING:
    from config.settings import TelemetrySettings

SILENCED = ("opentelemetry.exporter.otlp", "opentelemetry.sdk._shared_internal", "opentelemetry.sdk.metrics")
_log = structlog.get_logger(__name__)


def open_exporter(settings: TelemetrySettings, signal: Literal["traces", "metrics"], *, timeout: float) -> Any:  # noqa: ANN401 (one of four classes)
    """Return an exporter of spans or of metrics, for the configured protocol.

    gRPC takes the address as it is; over HTTP each signal has a path of its own below it, as the OTLP specification has
    it for a base address (https://opentelemetry.io/docs/specs/otel/protocol/exporter/#endpoint-urls-for-otlphttp).
    """
    for name in SILENCED:  # they would log each lost batch
        logging.getLogger(name).setLevel(logging.CRITICAL)
    exporter = _exporter_class(settings.protocol, signal)
    told = type(f"Telling{exporter.__name__}", (_Telling, exporter), {"signal": signal})
    endpoint = str(settings.endpoint)
    if settings.protocol == "http/protobuf":
        endpoint = f"{endpoint.removesuffix('/v1/traces').removesuffix('/v1/metrics')}/v1/{signal}"
    return told(endpoint=endpoint, headers=_headers(settings), timeout=timeout)


def _exporter_class(protocol: str, signal: str) -> type[Any]:
    if protocol == "grpc":
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its C core writes lines of its own to standard error
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as grpc_metrics
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_traces

        return grpc_traces.OTLPSpanExporter if signal == "traces" else grpc_metrics.OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http import metric_exporter as http_metrics
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_traces

    return http_traces.OTLPSpanExporter if signal == "traces" else http_metrics.OTLPMetricExporter


def _headers(settings: TelemetrySettings) -> dict[str, str] | None:
    if settings.headers is None:
        return None
    pairs = (pair.partition("=") for pair in settings.headers.get_secret_value().split(","))
    return {name.strip().lower(): unquote(value.strip()) for name, _, value in pairs}


class _Telling:
    """Wraps an exporter: logs the first failure in a row, and the first success after it."""

    signal = ""
    _failing: ClassVar[set[str]] = set()

    def export(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (the exporter's own)
        try:
            result = super().export(*args, **kwargs)  # type: ignore[misc]
        except Exception as exc:
            self._note(delivered=False, error=type(exc).__name__)
            raise
        self._note(delivered=result.name == "SUCCESS")
        return result

    def _note(self, *, delivered: bool, error: str | None = None) -> None:
        if not delivered:
            if not self._failing:
                _log.warning("telemetry is not delivered", signal=self.signal, error=error, effect="it is dropped")
            self._failing.add(self.signal)
        elif self.signal in self._failing:
            self._failing.remove(self.signal)
            if not self._failing:
                _log.info("telemetry is delivered again")
