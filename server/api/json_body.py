"""JSON request bodies, read strictly: RFC 8259, UTF-8, no NaN, no half surrogate pairs, bounded depth."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

MAX_MEMBERS = 100


class JsonRequest(Request):
    """A request whose `json` accepts RFC 8259 only; Python's parser accepts more, and overflows on deep nesting."""

    async def json(self) -> Any:  # noqa: ANN401 (Starlette's signature)
        """Return the parsed body; integers keep every digit."""
        body = await self.body()
        try:
            parsed = from_json(body, allow_inf_nan=False, cache_strings="none")
        except ValueError as exc:
            raise json.JSONDecodeError(str(exc), "", 0) from None
        if isinstance(parsed, dict) and len(parsed) > MAX_MEMBERS:  # each would cost an error of its own
            raise HTTPException(400, f"the body has more than {MAX_MEMBERS} members")
        return parsed


class JsonRoute(APIRoute):
    """A route whose body, where it has one, must be ``application/json`` and is read by `JsonRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def handle(request: Request) -> Response:
            _require_json(request.headers)
            return await handler(JsonRequest(request.scope, request.receive))

        return handle


def _require_json(headers: Headers) -> None:
    given = headers.get("content-type", "")
    media_type, _, parameters = given.partition(";")
    media_type = media_type.strip().lower()
    if media_type != "application/json" and not (
        media_type.startswith("application/") and media_type.endswith("+json")
    ):
        hint = f", not {given[:80]!r}" if given else ""
        raise HTTPException(415, f"send JSON with the header `Content-Type: application/json`{hint}")
    charset = parameters.lower().replace(" ", "").replace('"', "")
    if "charset=" in charset and "charset=utf-8" not in charset:
        raise HTTPException(415, "JSON is UTF-8 here; leave the charset out")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "compressed bodies are not supported; leave Content-Encoding out")
