"""The ASGI application: its lifespan, what surrounds each request, its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from config.settings import ServerSettings, Settings
from server.api import collections, documents, health, queries
from server.api.contracts import OpenRuntime
from server.api.documentation import DESCRIPTION, TAGS, DocumentedAPI
from server.api.error_handlers import install_error_handlers
from server.api.interrupts import OpenRequests
from server.api.middleware.access_log import AccessLog
from server.api.middleware.body_limit import BodyLimit
from server.api.middleware.concurrency import ConcurrencyLimit
from server.api.middleware.deadline import Deadline
from server.api.middleware.failsafe import Failsafe
from server.api.middleware.request_ids import RequestIds

VERSION = "0.1.0"
ROUTERS = (queries.router, collections.router, documents.router, health.router)


def create_app(settings: Settings, *, open_runtime: OpenRuntime) -> FastAPI:
    """Return the application; its lifespan opens the runtime with `open_runtime` and closes it again."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_runtime(settings) as runtime:
            app.state.runtime = runtime
            yield

    open_requests = OpenRequests()
    app = DocumentedAPI(
        title="Footnote",
        version=VERSION,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        middleware=_middleware(settings.server, open_requests),
        redirect_slashes=False,  # a redirect would name the host that a proxy sees
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.open_requests = open_requests
    install_error_handlers(app)
    for router in ROUTERS:
        app.include_router(router)
    return app


def _middleware(settings: ServerSettings, open_requests: OpenRequests) -> list[Middleware]:
    """Return what surrounds each request, the outermost first."""
    cors = Middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET", "POST", "PUT", "DELETE"],
        allow_headers=["Authorization", "Content-Type", "Last-Event-ID", "X-Request-ID"],
        expose_headers=["Retry-After", "X-Request-ID", "X-Stream-ID"],
    )
    return [
        Middleware(RequestIds),
        Middleware(AccessLog),
        *([cors] if settings.cors_origins else []),
        Middleware(Failsafe),
        Middleware(ConcurrencyLimit, most=settings.max_concurrency, exempt=health.HEALTH_PATHS),
        Middleware(Deadline, seconds=settings.request_timeout, open_requests=open_requests),
        Middleware(BodyLimit, most=settings.max_body_bytes),
    ]
