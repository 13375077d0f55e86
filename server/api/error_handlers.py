"""Turns errors of handlers into problem documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from opentelemetry import trace
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from config.errors import FootnoteError
from config.telemetry import spans
from server.api.context import request_id_of
from server.api.problems import (
    INTERNAL,
    INVALID,
    KINDS,
    MALFORMED,
    FieldError,
    Kind,
    Problem,
    problem_of,
    problem_response,
)
from server.api.refusals import note_refusal
from server.errors import Forbidden
from server.principal import principal

MAX_ERRORS = 20
STATUS_SLUGS = {
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    415: "unsupported-media-type",
    422: "invalid-request",
}
_log = structlog.get_logger(__name__)


def install_error_handlers(app: FastAPI) -> None:
    """Install handlers for Footnote's errors, invalid requests, and Starlette's HTTP errors (404, 405, 413, 415)."""
    app.add_exception_handler(FootnoteError, _footnote_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)


def log_failure(error: BaseException, problem: Problem) -> None:
    """Log an error that is the server's fault, once; an ``internal`` one with its traceback."""
    if getattr(error, "was_logged", False):
        return
    with suppress(AttributeError):  # some built-in errors take no attributes
        error.was_logged = True  # type: ignore[attr-defined]
    if problem.kind is INTERNAL:
        spans.failed(trace.get_current_span(), error)
        _log.error("request failed", error=type(error).__name__, exc_info=error)
    elif problem.kind.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", error=type(error).__name__, problem=problem.kind.slug)


async def _footnote_error(request: Request, error: Exception) -> Response:
    request_id = request_id_of(request.scope)
    if isinstance(error, Forbidden):
        note_refusal(error, request.scope, principal())
    problem = problem_of(error, request_id=request_id)
    log_failure(error, problem)
    return problem_response(problem, request_id=request_id)


async def _http_error(request: Request, error: Exception) -> Response:
    http = cast("HTTPException", error)
    kind = _kind_of_status(http.status_code)
    detail, headers = str(http.detail), http.headers
    if kind.slug == "method-not-allowed":
        headers = {"Allow": ", ".join(_allowed(request))}
    if kind.slug in {"not-found", "method-not-allowed"}:
        detail = f"there is no {request.method} {request.url.path[:200]}; /docs lists what there is"
    return problem_response(Problem(kind, detail), request_id=request_id_of(request.scope), headers=headers)


def _kind_of_status(status: int) -> Kind:
    if slug := STATUS_SLUGS.get(status):
        return KINDS[slug]
    return MALFORMED if status < HTTPStatus.INTERNAL_SERVER_ERROR else INTERNAL


def _allowed(request: Request) -> list[str]:
    """Return every method of the path: Starlette knows those of one route only."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.router.routes):
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)


async def _invalid_request(request: Request, error: Exception) -> Response:
    invalid = cast("RequestValidationError", error)
    found = field_errors(invalid.errors(), body=invalid.body)
    first = f"{found[0].field}: {found[0].reason}" if found else "the request is invalid"
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    kind = MALFORMED if any(entry["type"] == "json_invalid" for entry in invalid.errors()) else INVALID
    problem = Problem(kind, first + more, errors=found[:MAX_ERRORS])
    return problem_response(problem, request_id=request_id_of(request.scope))


def field_errors(entries: Iterable[Mapping[str, Any]], *, body: object) -> list[FieldError]:
    """Return one error a field, in our own words and without the value, which may be long or private."""
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if _is_meant(entry["loc"], body):
            field = ".".join(_path(entry)) or str(entry["loc"][0])
            reasons.setdefault(field, []).append(_reason(entry))
    return [FieldError(field, " or ".join(dict.fromkeys(found))) for field, found in reasons.items()]


# pydantic puts the names of a union's members into the path; `storage.search.filters` has such unions
_BRANCHES = ("Filter", "FilterGroup")
_TYPES = ("bool", "int", "float", "str")


def _path(entry: Mapping[str, Any]) -> list[str]:
    if entry["type"] == "json_invalid":
        return []
    parts = [str(part) for part in entry["loc"][1:]]
    named = parts[-1:] if entry["type"] in {"missing", "extra_forbidden"} else []  # a field, whatever it is called
    inner = parts[: len(parts) - len(named)]
    return [part for part in inner if part not in _BRANCHES + _TYPES and "[" not in part] + named


def _is_meant(location: tuple[str | int, ...], body: object) -> bool:
    """Drop errors about the other member of a filter union: only a group has ``filters``."""
    node = body
    for part in location[1:]:
        if part in _BRANCHES:
            is_group = isinstance(node, dict) and "filters" in node
            if is_group != (part == "FilterGroup"):
                return False
            continue
        try:
            node = node[part]  # type: ignore[index] # whatever cannot be followed ends the walk
        except (TypeError, LookupError):
            break
    return True


_REASONS = {
    "missing": "is required",
    "extra_forbidden": "is no field of this request",
    "int_type": "must be a whole number, in JSON's own notation",
    "float_type": "must be a number, in JSON's own notation",
    "bool_type": "must be true or false, in JSON's own notation",
    "string_type": "must be a string",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
}


def _reason(entry: Mapping[str, Any]) -> str:
    if entry["type"] == "json_invalid":
        return f"not valid JSON: {entry['ctx']['error']}"
    if entry["type"] == "too_long" and isinstance(entry.get("input"), str):  # pydantic speaks of items
        return f"must have at most {entry['ctx']['max_length']} characters"
    if entry["type"] == "too_short":
        least = entry["ctx"]["min_length"]
        return f"must have at least {least} {'entry' if least == 1 else 'entries'}"
    return _REASONS.get(entry["type"]) or str(entry["msg"]).removeprefix("Value error, ")
