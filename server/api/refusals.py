"""Tells the audit record of refused requests: who was denied what, and which keys and tokens were wrong."""

from __future__ import annotations

from contextlib import suppress

from starlette.types import Scope

from config.errors import FootnoteError
from server.api.context import trace_id
from server.api.contracts import Runtime
from server.api.credentials import credential_of
from server.auth.key_text import KeyText
from server.errors import Forbidden, TooManyFailures, Unauthenticated
from server.principal import Principal
from storage.audit.record import Refusal
from storage.origin import origin

LONGEST_PATH = 150


def note_refusal(error: FootnoteError, scope: Scope, who: Principal | None) -> None:
    """Count a refused request, if the error is a refusal; `who` is None where nobody is known."""
    runtime: Runtime = scope["app"].state.runtime
    if isinstance(error, Forbidden):
        runtime.refusals.add(denied(error, who, about=_asked(scope), key=_key_id(scope)))
    elif isinstance(error, TooManyFailures) or (isinstance(error, Unauthenticated) and error.was_given):
        runtime.refusals.add(_failed_login(error, key=_key_id(scope)))


def denied(error: Forbidden, who: Principal | None, *, about: str, key: str | None = None) -> Refusal:
    """Return a refusal of something by name, of whoever asks, if that is known."""
    return Refusal(
        action="access.deny",
        about=about,
        outcome="denied",
        tenant=who.caller.tenant if who else None,
        subject=who.caller.subject if who else "",
        key=who.key_id if who else key,
        client=origin().client,
        request_id=origin().request_id,
        trace_id=trace_id(),
        told={"scope": error.scope} if error.scope else {},
    )


def _failed_login(error: FootnoteError, *, key: str | None) -> Refusal:
    return Refusal(
        action="login.fail",
        about="login",
        outcome="failure",
        key=key,
        client=origin().client,
        request_id=origin().request_id,
        trace_id=trace_id(),
        told={"reason": str(error)},
    )


def failed_sign_in(error: FootnoteError) -> Refusal:
    """Return the refusal of somebody who came back from the issuer."""
    return _failed_login(error, key=None)


def _asked(scope: Scope) -> str:
    """Return the method and the path, whose ids tell what was meant; never the query."""
    return f"{scope['method']} {scope['path'][:LONGEST_PATH]}"


def _key_id(scope: Scope) -> str | None:
    with suppress(Unauthenticated):
        text = KeyText.parse(credential_of(scope) or "")
        return text.id if text else None
    return None
