"""The ASGI application: lifespan, middleware, routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from config.settings import Settings
from config.version import VERSION
from server.api import (
    access,
    audit,
    chats,
    collections,
    docs,
    documents,
    evidence,
    feedback,
    health,
    jobs,
    keys,
    page,
    quality,
    queries,
    resource,
    sign_in,
    streams,
    tenants,
    usage,
)
from server.api.client_addresses import ClientAddresses
from server.api.contracts import OpenRuntime
from server.api.documentation import DESCRIPTION, TAGS, DocumentedAPI, problem_responses
from server.api.drain import Drain, RefuseWhenOver
from server.api.error_handlers import install_error_handlers
from server.api.middleware.access_log import AccessLog
from server.api.middleware.authentication import Authentication
from server.api.middleware.body_limit import BodyLimit
from server.api.middleware.concurrency import ConcurrencyLimit
from server.api.middleware.deadline import Deadline
from server.api.middleware.failsafe import Failsafe
from server.api.middleware.gate import Gate, OwnHosts
from server.api.middleware.rate_limits import RateLimits
from server.api.middleware.request_ids import RequestIds
from server.api.middleware.uploads import UploadBounds
from server.api.openai import router as openai_router
from server.api.openai.errors import OpenAIErrors
from server.api.problems import count_from_zero
from server.api.scopes import KNOWN, marked
from server.api.tracing import http_telemetry
from server.auth.mode import is_required
from server.mcp.http import McpEndpoint, McpRoute
from server.waiting.interrupts import OpenRequests

ROUTERS = (
    queries.router,
    chats.router,
    feedback.router,
    quality.router,
    streams.router,
    collections.router,
    documents.router,
    access.router,
    evidence.router,
    jobs.router,
    openai_router,
    keys.router,
    tenants.router,
    resource.router,
    sign_in.router,
    usage.router,
    audit.router,
    health.router,
    docs.router,
    page.router,
)


def create_app(settings: Settings, *, open_runtime: OpenRuntime) -> FastAPI:
    """Return the application; its lifespan opens the runtime with `open_runtime` and closes it again."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        count_from_zero()
        async with open_runtime(settings) as runtime, mcp.serving(runtime):
            app.state.runtime = runtime
            drain.include(streams=runtime.streams.__len__, end_streams=runtime.streams.end_all)
            yield

    open_requests = OpenRequests()
    mcp = McpEndpoint(settings.server, open_requests=open_requests, version=VERSION)
    drain = Drain(open_requests)
    shown = page.Page() if settings.server.page else None
    hosts = OwnHosts(listening=settings.server.host, allowed=settings.server.allowed_hosts)
    app = DocumentedAPI(
        title="Footnote",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        responses=problem_responses(401, 403, 421, 429),  # the gates', and the limits'
        middleware=_middleware(settings, open_requests, drain, hosts, shown),
        generate_unique_id_function=lambda route: route.name,  # generated clients name their functions after it
        docs_url=None,  # FastAPI's own loads its script from another host
        redoc_url=None,
        redirect_slashes=False,  # a redirect would expose the host name that a proxy uses
        telemetry=http_telemetry(settings.telemetry),
    )
    app.state.open_requests = open_requests
    app.state.drain = drain
    app.state.hosts = hosts
    app.state.page = shown
    app.state.auth = settings.auth
    app.state.keys_required = is_required(settings)
    app.state.addresses = ClientAddresses(settings.server.trusted_proxies)
    app.state.plug_ins = settings.plug_ins
    app.state.is_named = False
    app.state.write_timeout = settings.streams.write_timeout
    install_error_handlers(app)
    for route in app.router.routes:  # FastAPI's own: /openapi.json
        marked(KNOWN)(route.endpoint)  # type: ignore[attr-defined] # they are Starlette's routes
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.append(McpRoute(mcp))
    return app


def _middleware(
    settings: Settings, open_requests: OpenRequests, drain: Drain, hosts: OwnHosts, shown: page.Page | None
) -> list[Middleware]:
    """Return the middleware, outermost first."""
    server = settings.server
    uncounted = health.HEALTH_PATHS | (shown.paths if shown else frozenset())
    cors = Middleware(
        CORSMiddleware,
        allow_origins=server.cors_origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=["*"],  # OpenAI's and MCP's clients send headers of their own
        expose_headers=[
            "Location",
            "Idempotent-Replayed",
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "WWW-Authenticate",
            "X-Request-ID",
            "X-Stream-ID",
        ],
    )
    return [
        Middleware(RequestIds),
        Middleware(AccessLog),
        Middleware(OpenAIErrors),
        Middleware(Gate, hosts=hosts, origins=server.cors_origins),
        *([cors] if server.cors_origins else []),
        Middleware(Failsafe),
        Middleware(Authentication, required=is_required(settings)),
        Middleware(RefuseWhenOver, drain=drain, exempt=health.HEALTH_PATHS),
        Middleware(RateLimits, exempt=uncounted),
        Middleware(ConcurrencyLimit, most=server.max_concurrency, max_wait=server.max_wait, exempt=health.HEALTH_PATHS),
        Middleware(
            Deadline,
            seconds=server.request_timeout,
            upload_seconds=server.upload_timeout,
            open_requests=open_requests,
        ),
        Middleware(BodyLimit, most=server.max_body_bytes),
        Middleware(
            UploadBounds,
            most=server.max_uploads,
            max_bytes=settings.ingestion.max_file_bytes,
            silence=server.upload_idle_timeout,
        ),
    ]
