"""Signing in and out in a browser. These routes are the page's own: other clients send a key or a token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse

from config.errors import FootnoteError
from server.api import session_cookies as cookies
from server.api.context import runtime_of
from server.api.refusals import failed_sign_in
from server.api.resource import base_of
from server.api.scopes import OPEN, marked
from server.auth.browser import Pending
from server.errors import SignInFailed, TooManyFailures

if TYPE_CHECKING:
    from server.auth.sign_in import SignIn

router = APIRouter(include_in_schema=False)
CALLBACK = "/login/callback"
PAGE, FAILED = "/", "/#/?login=failed"
NO_STORE = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
MOST_PARAMETERS = 20
_log = structlog.get_logger(__name__)


class SessionOut(BaseModel):
    """How one signs in here; `signed_in`: the browser has a session."""

    login: bool
    signed_in: bool


class SignedOutOut(BaseModel):
    """Where the browser signs out with the issuer, too; null: nowhere."""

    url: str | None


@router.get("/session")
@marked(OPEN)
async def show_session(request: Request, response: Response) -> SessionOut:
    """Tell the page whether people sign in with the issuer, and whether this browser has."""
    response.headers.update(NO_STORE)
    can = runtime_of(request).authenticator.sign_in is not None
    return SessionOut(login=can, signed_in=can and cookies.session_of(request.scope) is not None)


@router.get("/login")
@marked(OPEN)
async def begin_sign_in(request: Request) -> Response:
    """Send the browser to the issuer."""
    sign_in, secure = _sign_in(request), _secure(request)
    url, pending = await sign_in.begin(_base(request) + CALLBACK)
    response = RedirectResponse(url, status_code=303, headers=NO_STORE)
    cookies.keep_pending(response, pending.encoded(), secure=secure)
    return response


@router.get(CALLBACK)
@marked(OPEN)
async def finish_sign_in(request: Request) -> Response:
    """Take the browser back from the issuer, and send it to the page, signed in or not."""
    sign_in, secure = _sign_in(request), _secure(request)
    pending = Pending.decoded(cookies.pending_of(request.scope, secure=secure))
    given = dict(list(request.query_params.items())[:MOST_PARAMETERS])
    token, to = None, PAGE
    try:
        address = request.app.state.addresses.of(request.scope)
        token = await sign_in.finish(given, pending, _base(request) + CALLBACK, address=address)
        await runtime_of(request).authenticator.principal_of_session(token, address=address)
    except FootnoteError as exc:
        token, to = None, FAILED
        _log.warning("nobody was signed in", error=type(exc).__name__, reason=str(exc))
        if isinstance(exc, SignInFailed | TooManyFailures):
            runtime_of(request).refusals.add(failed_sign_in(exc))
    response = RedirectResponse(to, status_code=303, headers=NO_STORE)
    cookies.forget_pending(response, secure=secure)
    if token is not None:
        cookies.keep_session(response, token, secure=secure)
    return response


@router.post("/logout")
@marked(OPEN)
async def sign_out(request: Request, response: Response) -> SignedOutOut:
    """Let the browser forget its session."""
    if not cookies.is_of_page(request.scope):
        raise HTTPException(400, f"only the page signs out: the header {cookies.HEADER} is missing")
    response.headers.update(NO_STORE)
    cookies.forget_session(response, secure=_secure(request))
    sign_in = runtime_of(request).authenticator.sign_in
    try:
        return SignedOutOut(url=await sign_in.end(_base(request) + PAGE) if sign_in else None)
    except FootnoteError:  # here he is signed out all the same
        return SignedOutOut(url=None)


def _sign_in(request: Request) -> SignIn:
    found: SignIn | None = runtime_of(request).authenticator.sign_in
    if found is None:
        raise HTTPException(404)
    return found


def _base(request: Request) -> str:
    return base_of(request.app.state.auth, request.scope)


def _secure(request: Request) -> bool:
    return cookies.is_secure(request.app.state.auth, request.scope)
