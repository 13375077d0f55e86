"""Requests a minute: refuses those above it, and tells on every limited response how the limits stand.

The fields are those of draft-ietf-httpapi-ratelimit-headers-11, structured fields (RFC 9651). A partition key (`pk`) is
left out: a client has but one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.context import request_id_of
from server.api.middleware.body_limit import CLOSE, lingering
from server.api.problems import problem_of, problem_response
from server.errors import RateLimited
from storage.access.rates import MINUTE, Taken


class RateLimits:
    """Counts each request, and refuses those of whoever has sent too many with 429 ``rate-limited``."""

    def __init__(self, app: ASGIApp, *, exempt: frozenset[str]) -> None:
        self._app = app
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        admission = await scope["app"].state.runtime.limits.requests.take()
        if admission.error is not None:
            await _refuse(admission.error, fields_of(admission.taken), scope, receive, send)
        elif admission.taken:
            await self._app(scope, receive, _telling(fields_of(admission.taken), send))
        else:
            await self._app(scope, receive, send)


def fields_of(taken: Sequence[Taken]) -> Mapping[str, str]:
    """Return the header fields that tell how rates stand."""
    policies = [f'"{each.rate.scope}";q={each.rate.most};w={MINUTE}' for each in taken]
    states = [f'"{each.rate.scope}";r={each.left};t={math.ceil(each.next)}' for each in taken]
    return {"RateLimit-Policy": ", ".join(policies), "RateLimit": ", ".join(states)}


def _telling(fields: Mapping[str, str], send: Send) -> Send:
    async def send_with_fields(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(fields)
        await send(message)

    return send_with_fields


async def _refuse(error: RateLimited, fields: Mapping[str, str], scope: Scope, receive: Receive, send: Send) -> None:
    request_id = request_id_of(scope)
    problem = problem_of(error, request_id=request_id)
    response = problem_response(problem, request_id=request_id, headers={**CLOSE, **fields})
    await response(scope, receive, lingering(receive, send))
