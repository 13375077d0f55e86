"""The cookies of whoever signed in in a browser: written, read, and believed only where the page itself sends them.

A cookie comes with every request to the server, whoever has the browser send it. So one that changes something must
bring a header that no form, link or picture can, and none may come from another site.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http.cookies import CookieError, SimpleCookie

from starlette.responses import Response
from starlette.types import Scope

from config.settings import AuthSettings
from server.auth.browser import LONGEST_TOKEN

SESSION, PENDING = "footnote-session", "footnote-login"
HEADER = "X-Footnote-Request"
"""What the page's own requests bring; browsers let other sites' pages send it only where CORS allows them."""

PIECE = 3500
"""Characters of a cookie: browsers keep 4,096 with name and attributes."""

PIECES = -(-LONGEST_TOKEN // PIECE)
PENDING_SECONDS = 600
SAFE = frozenset({"GET", "HEAD"})
OWN_SITE = frozenset({"same-origin", "none"})
"""`Sec-Fetch-Site` of the page's requests, and of what people type or bookmark."""


def is_secure(auth: AuthSettings, scope: Scope) -> bool:
    """Tell whether browsers reach the server by TLS."""
    return auth.public_url.startswith("https:") if auth.public_url else scope["scheme"] == "https"


def session_of(scope: Scope) -> str | None:
    """Return the token in a request's cookies; None where it has none, or the page did not send it."""
    auth: AuthSettings = scope["app"].state.auth
    if auth.login_client_id is None or not _is_own(scope):
        return None
    cookies, name = _cookies(scope), _named(SESSION, secure=is_secure(auth, scope))
    pieces = [cookies.get(f"{name}-{place}" if place else name, "") for place in range(PIECES)]
    return "".join(pieces) or None


def is_of_page(scope: Scope) -> bool:
    """Tell whether the page's script sent a request."""
    return any(name == HEADER.lower().encode() for name, _ in scope["headers"])


def keep_session(response: Response, token: str, *, secure: bool) -> None:
    """Let a browser keep a token until it is closed, in as many cookies as it takes."""
    name = _named(SESSION, secure=secure)
    for place in range(PIECES):
        own = f"{name}-{place}" if place else name
        if piece := token[place * PIECE : (place + 1) * PIECE]:
            response.set_cookie(own, piece, path="/", secure=secure, httponly=True, samesite="strict")
        else:
            response.delete_cookie(own, path="/", secure=secure, httponly=True, samesite="strict")


def forget_session(response: Response, *, secure: bool) -> None:
    """Let a browser forget its session."""
    keep_session(response, "", secure=secure)


def keep_pending(response: Response, pending: str, *, secure: bool) -> None:
    """Let a browser keep what it leaves with; lax, as it comes back from another site."""
    name = _named(PENDING, secure=secure)
    response.set_cookie(name, pending, max_age=PENDING_SECONDS, path="/", secure=secure, httponly=True, samesite="lax")


def pending_of(scope: Scope, *, secure: bool) -> str | None:
    """Return what a browser left with."""
    return _cookies(scope).get(_named(PENDING, secure=secure))


def forget_pending(response: Response, *, secure: bool) -> None:
    """Let a browser forget it: it is good for one return."""
    response.delete_cookie(_named(PENDING, secure=secure), path="/", secure=secure, httponly=True, samesite="lax")


def _is_own(scope: Scope) -> bool:
    sites = [value.decode("latin-1") for name, value in scope["headers"] if name == b"sec-fetch-site"]
    if any(site not in OWN_SITE for site in sites):
        return False
    return is_of_page(scope) or (bool(sites) and scope["method"] in SAFE)


def _named(name: str, *, secure: bool) -> str:
    """Return a cookie's name; the prefix has browsers refuse it from anybody but this very host by TLS."""
    return f"__Host-{name}" if secure else name


def _cookies(scope: Scope) -> Mapping[str, str]:
    return dict(_pairs(scope))


def _pairs(scope: Scope) -> Iterator[tuple[str, str]]:
    for name, value in scope["headers"]:
        if name == b"cookie":
            try:
                for own, morsel in SimpleCookie(value.decode("latin-1")).items():
                    yield own, morsel.value
            except CookieError:
                continue
