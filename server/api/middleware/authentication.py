"""Authentication and scopes: nothing is served but to whom a route lets in.

It stands before everything that answers, and asks the router itself which route a request means, so that what it checks
is what is served.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from cachetools import LRUCache
from fastapi.routing import RouteContext, iter_route_contexts
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, unbind_contextvars

from config.errors import FootnoteError
from server.api.context import request_id_of
from server.api.credentials import NEITHER, credential_of
from server.api.error_handlers import log_failure
from server.api.middleware.body_limit import CLOSE, lingering
from server.api.page import wants_page
from server.api.problems import problem_of, problem_response
from server.api.refusals import note_refusal
from server.api.resource import challenge
from server.api.scopes import KNOWN, OPEN, Access, access_of
from server.api.session_cookies import session_of
from server.errors import Forbidden, TooManyFailures, Unauthenticated
from server.principal import EVERYBODY, Principal, being, being_nobody
from storage.origin import coming_from

MOST_KEPT, LONGEST_KEPT = 1024, 200
"""Paths whose routes are remembered, and their characters."""

NOBODY = ""
EXPECTED = (Unauthenticated, Forbidden, TooManyFailures)


class Authenticating(Protocol):
    """From a key or a token to whom it stands for."""

    async def principal_of(self, credential: str, *, address: str) -> Principal:
        """See `server.auth.authenticator.Authenticator`."""
        ...

    async def principal_of_session(self, token: str, *, address: str) -> Principal:
        """See `server.auth.authenticator.Authenticator`."""
        ...


class Authentication:
    """Lets requests pass as whom their key or token stands for; where authentication is off, as everybody."""

    def __init__(self, app: ASGIApp, *, required: bool) -> None:
        self._app = app
        self._required = required
        self._routes: Sequence[RouteContext] | None = None
        self._kept: LRUCache[tuple[str, str, str], Access | None] = LRUCache(MOST_KEPT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif not self._required:
            with _origin(scope), being(EVERYBODY):
                await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:
            with _origin(scope):
                await self._admitted(scope, receive, send)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        unbind_contextvars("tenant", "key")
        who, access = None, self._access(scope)
        try:
            is_open = access is not None and (access.is_open or (access.shows_page and wants_page(scope)))
            who = None if access == OPEN else await _principal(scope, optional=is_open)
            if who is not None:
                _require(access, who)
                bind_contextvars(tenant=who.caller.tenant, key=who.key_id)
        except FootnoteError as exc:
            note_refusal(exc, scope, who)
            await _refuse(exc, scope, receive, send)
            return
        with being_nobody() if who is None else being(who):
            await self._app(scope, receive, send)

    def _access(self, scope: Scope) -> Access | None:
        """Return who may call the route that the router will choose; what was asked for lately is remembered."""
        asked = scope["method"], scope.get("root_path", ""), scope["path"]
        if len(scope["path"]) > LONGEST_KEPT:
            return self._looked_up(scope)
        if asked not in self._kept:
            self._kept[asked] = self._looked_up(scope)
        return self._kept[asked]

    def _looked_up(self, scope: Scope) -> Access | None:
        if self._routes is None:
            self._routes = tuple(iter_route_contexts(scope["app"].router.routes))
        partial = False
        for route in self._routes:
            match, _ = route.matches(scope)
            if match is Match.FULL:
                return access_of(route.endpoint)
            partial = partial or match is Match.PARTIAL
        return KNOWN  # there is nothing (404), or not by this method (405)


def _origin(scope: Scope) -> AbstractContextManager[None]:
    return coming_from(scope["app"].state.addresses.of(scope), request_id=request_id_of(scope))


async def _principal(scope: Scope, *, optional: bool) -> Principal | None:
    """Return who sends a request; None where that is `optional` and nobody is known."""
    try:
        credential = credential_of(scope)
        session = session_of(scope) if credential is None else None
        authenticator: Authenticating = scope["app"].state.runtime.authenticator
        address = scope["app"].state.addresses.of(scope)
        if session is not None:
            return await authenticator.principal_of_session(session, address=address)
        if credential is None:
            raise Unauthenticated(NEITHER, was_given=False)
        return await authenticator.principal_of(credential, address=address)
    except FootnoteError:
        if optional:
            return None
        raise


def _require(access: Access | None, who: Principal) -> None:
    if access is None:
        raise Forbidden(NOBODY, "this route does not say who may call it")
    if access.scopes and not any(map(who.may, access.scopes)):
        raise Forbidden(access.scopes[0])


async def _refuse(error: FootnoteError, scope: Scope, receive: Receive, send: Send) -> None:
    request_id = request_id_of(scope)
    problem = problem_of(error, request_id=request_id)
    if not isinstance(error, EXPECTED):
        log_failure(error, problem)
    headers: Mapping[str, Any] = CLOSE | challenge(error, scope)
    response = problem_response(problem, request_id=request_id, headers=headers)
    await response(scope, receive, lingering(receive, send))
