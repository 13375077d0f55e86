"""The last handler for errors."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.context import request_id_of
from server.api.error_handlers import log_failure
from server.api.problems import problem_of, problem_response


class Failsafe:
    """Turns unhandled errors into problems, and logs each once.

    Starlette's own handler runs outside of all middleware, without the request id, and raises the error again, so that
    the server would log it a second time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            scope["state"]["client_left"] = True
        except Exception as exc:
            problem = problem_of(exc, request_id=request_id_of(scope))
            log_failure(exc, problem)
            if begun:
                raise  # the server closes the connection, so that the client sees a cut response
            await problem_response(problem, request_id=request_id_of(scope))(scope, receive, send)
