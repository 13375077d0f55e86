"""The SDK's side of ``/mcp``. The SDK takes a second to import: nobody loads this module before a client speaks MCP."""

from __future__ import annotations

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings

from config.settings import ServerSettings
from server.api.contracts import Runtime
from server.mcp.calls import Calls
from server.mcp.protocol import make_server
from server.waiting.interrupts import OpenRequests

# `server.api.middleware.gate` does what this is for, before every route
SECURITY = TransportSecuritySettings(enable_dns_rebinding_protection=False)


def make_manager(
    runtime: Runtime, *, settings: ServerSettings, open_requests: OpenRequests, version: str
) -> StreamableHTTPSessionManager:
    """Return what handles requests with `runtime`, while its `run()` is open."""

    async def get_runtime() -> Runtime:
        return runtime

    calls = Calls(get_runtime, seconds=settings.request_timeout, open_requests=open_requests)
    return StreamableHTTPSessionManager(
        make_server(calls, version=version, plug_ins=runtime.settings.plug_ins),
        stateless=True,
        security_settings=SECURITY,
        max_request_body_size=settings.max_body_bytes,
    )
