"""Everybody is `LOCAL` where authentication is off: each request acts for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.caller import LOCAL, acting_as

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class LocalCaller:
    """Lets every request act for `LOCAL`; whoever asks is not looked at."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        with acting_as(LOCAL):
            await self._app(scope, receive, send)
