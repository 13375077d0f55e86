"""Requests of whoever their headers name, in place of the gate that looks at keys."""

from __future__ import annotations

import json

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.principal import SCOPES, Principal, being
from storage.access.limited import UsedKey, using_key
from storage.caller import LOCAL, Caller


class AsNamed:
    """Reads ``x-tenant``, ``x-subject`` (percent-encoded), ``x-key``, ``x-key-limits``; a subject sees not all."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope)
        subject = given.get("x-subject")
        who = Caller(given.get("x-tenant", LOCAL.tenant), subject or LOCAL.subject, sees_all=subject is None)
        key = given.get("x-key")
        used = UsedKey(key, json.loads(given.get("x-key-limits", "{}"))) if key else None
        with being(Principal(who, frozenset(SCOPES))), using_key(used):
            await self._app(scope, receive, send)
