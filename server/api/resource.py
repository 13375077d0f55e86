"""How clients learn where tokens come from: `WWW-Authenticate`, and protected-resource metadata (RFC 9728)."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.types import Scope

from config.errors import FootnoteError
from config.settings import AuthSettings
from server.api.context import runtime_of
from server.api.documentation import problem_responses
from server.api.scopes import OPEN, marked
from server.errors import Forbidden, Unauthenticated
from server.principal import SCOPES

WELL_KNOWN = "/.well-known/oauth-protected-resource"
MCP = "/mcp"
router = APIRouter(tags=["operating"], responses=problem_responses(404, 500))


class ResourceOut(BaseModel):
    """What RFC 9728 has clients know before they ask for a token."""

    resource: str = Field(examples=["https://footnote.example/mcp"])
    authorization_servers: list[str] = Field(examples=[["https://login.example/realm"]])
    scopes_supported: list[str]
    bearer_methods_supported: list[str] = ["header"]
    resource_name: str = "Footnote"


@router.get(WELL_KNOWN)
@marked(OPEN)
async def describe_resource(request: Request) -> ResourceOut:
    """Tell whose tokens the server accepts; 404 where it accepts none."""
    return _described(request, "")


@router.get(f"{WELL_KNOWN}{MCP}")
@marked(OPEN)
async def describe_mcp_resource(request: Request) -> ResourceOut:
    """Tell whose tokens `/mcp` accepts; 404 where it accepts none."""
    return _described(request, MCP)


def challenge(error: FootnoteError, scope: Scope) -> dict[str, str]:
    """Return the headers of a refusal: what to bring, and where MCP clients find who gives it."""
    if not isinstance(error, Unauthenticated | Forbidden):
        return {}
    parts = ['realm="footnote"']
    if isinstance(error, Forbidden) and error.scope:
        parts += ['error="insufficient_scope"', f'scope="{error.scope}"']
    elif isinstance(error, Unauthenticated) and error.was_given:
        parts.append('error="invalid_token"')
    auth = scope["app"].state.auth
    if auth.jwt_issuer is not None:
        path = MCP if scope["path"] == MCP else ""
        parts.append(f'resource_metadata="{base_of(auth, scope)}{WELL_KNOWN}{path}"')
    return {"WWW-Authenticate": f"Bearer {', '.join(parts)}"}


def _described(request: Request, path: str) -> ResourceOut:
    auth = runtime_of(request).settings.auth
    if auth.jwt_issuer is None:
        raise HTTPException(404)
    return ResourceOut(
        resource=f"{base_of(auth, request.scope)}{path}",
        authorization_servers=[auth.jwt_issuer],
        scopes_supported=[*SCOPES],
    )


def base_of(auth: AuthSettings, scope: Scope) -> str:
    """Return the server's address, as the settings or else the request have it."""
    if auth.public_url is not None:
        return auth.public_url.removesuffix("/")
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost")
    clean = host if host.isascii() and all(char.isalnum() or char in ".-:[]_" for char in host) else "localhost"
    return f"{scope['scheme']}://{clean}"
