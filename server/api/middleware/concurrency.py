"""A limit on concurrent requests, which tenants share."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.context import request_id_of
from server.api.problems import problem_of, problem_response
from server.errors import Overloaded
from server.waiting.fair import FairPlaces
from server.waiting.turns import current_tenant


class ConcurrencyLimit:
    """Refuses requests over the limit with 503 ``overloaded``; a queue would only delay everybody.

    Only a tenant that has less than its equal share of the places waits for one, `max_wait` seconds at the most: others
    have taken it, and their next requests are refused until it has its share.
    """

    def __init__(self, app: ASGIApp, *, most: int, max_wait: float, exempt: frozenset[str]) -> None:
        self._app = app
        self._places = FairPlaces(most)
        self._max_wait = max_wait
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        tenant = current_tenant()
        if not await self._has_place(tenant):
            request_id = request_id_of(scope)
            problem = problem_of(Overloaded(), request_id=request_id)
            await problem_response(problem, request_id=request_id)(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._places.release(tenant)

    async def _has_place(self, tenant: str) -> bool:
        if self._places.is_full and not self._places.is_below_share(tenant):
            return False
        try:
            async with asyncio.timeout(self._max_wait):
                await self._places.acquire(tenant)
        except TimeoutError:
            return False
        return True
