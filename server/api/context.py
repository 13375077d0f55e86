"""A request's context: the runtime, the request's id, the trace's id."""

from __future__ import annotations

from typing import cast

from opentelemetry import trace
from starlette.requests import Request
from starlette.types import Scope

from config.telemetry import spans
from server.api.contracts import Runtime

ABORT = "footnote.abort"
"""Extension of the ASGI scope: closes the connection at once, although the client has not read everything."""


def runtime_of(request: Request) -> Runtime:
    """Return the runtime that the lifespan opened."""
    return cast("Runtime", request.app.state.runtime)


def request_id_of(scope: Scope) -> str:
    """Return the id that `RequestIds` gave the request."""
    return str(scope.get("state", {}).get("request_id", ""))


def trace_id() -> str | None:
    """Return the current trace's id, 32 hex digits, or None where nothing is traced."""
    return spans.trace_id_of(trace.get_current_span())
