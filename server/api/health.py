"""For load balancers, and for the first person who opens the address in a browser."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse

from server.api.context import request_id_of, runtime_of
from server.api.documentation import problem_responses
from server.api.page import ASK_AGAIN, Page, wants_page
from server.api.problems import KINDS, Problem, problem_of, problem_response
from server.api.scopes import KNOWN_OR_PAGE, OPEN, OPEN_TELLS_MORE, marked, needs
from server.errors import ShuttingDown
from server.peers.metrics import exposition
from server.principal import principal

router = APIRouter(tags=["operating"], responses=problem_responses(500))
NOT_READY = "the server is not ready; whoever has a key is told why"
HEALTH_PATHS = frozenset({"/health", "/ready", "/metrics"})


class HealthOut(BaseModel):
    """The process is alive; nothing else was looked at."""

    status: Literal["ok"] = "ok"


class DependencyOut(BaseModel):
    """State of something that Footnote stands on; the server is ready when every required one is ok."""

    model_config = ConfigDict(from_attributes=True)
    ok: bool
    required: bool
    detail: str
    facts: dict[str, str | int] = Field(
        {},
        description="What `detail` tells, for programs: `provider` and `model`, say.",
    )


class ReadyOut(BaseModel):
    """Everything that is required works."""

    status: Literal["ready"] = "ready"
    dependencies: dict[str, DependencyOut]


class WelcomeOut(BaseModel):
    """Where to look."""

    name: Literal["Footnote"] = "Footnote"
    version: str
    docs: str = "/docs"
    openapi: str = "/openapi.json"
    ready: str = "/ready"
    ask: str = 'POST /query with {"question": "…"} as JSON'
    chat: str = 'POST /chat with {"message": "…"} as JSON'
    openai: str = "/v1"
    mcp: str = "/mcp"


@router.get("/health")
@marked(OPEN)
async def health() -> HealthOut:
    """Tell that the process is alive, and nothing else."""
    return HealthOut()


@router.get("/ready", response_model=ReadyOut, responses=problem_responses(503))
@marked(OPEN_TELLS_MORE)
async def ready(request: Request) -> ReadyOut | Response:
    """Look at each dependency: 200 if questions can be answered, else 503; `dependencies` is in both.

    A server that is stopping is not ready either. Where authentication is on, whoever is unknown learns no more than
    whether it is ready.
    """
    if request.app.state.drain.begun:
        request_id = request_id_of(request.scope)
        return problem_response(
            problem_of(ShuttingDown(), request_id=request_id), request_id=request_id, is_counted=False
        )
    states = {name: DependencyOut.model_validate(state) for name, state in (await runtime_of(request).health()).items()}
    missing = [name for name, state in states.items() if state.required and not state.ok]
    is_known = principal() is not None
    if not missing:
        return ReadyOut(dependencies=states if is_known else {})
    slug = "model-unavailable" if set(missing) <= {"model", "embedding"} else "store-unavailable"
    if not is_known:
        return problem_response(
            Problem(KINDS[slug], NOT_READY), request_id=request_id_of(request.scope), is_counted=False
        )
    problem = Problem(KINDS[slug], "; ".join(f"{name}: {states[name].detail}" for name in missing))
    extensions = {"dependencies": {name: state.model_dump() for name, state in states.items()}}
    return problem_response(problem, request_id=request_id_of(request.scope), extensions=extensions, is_counted=False)


@router.head("/metrics", include_in_schema=False)
@router.get("/metrics", response_class=PlainTextResponse)
@needs("metrics")
async def metrics(request: Request) -> Response:
    """Return every metric, for Prometheus; as OpenMetrics with exemplars where that is accepted."""
    runtime = runtime_of(request)
    body, content_type = await exposition(runtime.telemetry, runtime.member, request.headers.get("accept", ""))
    return Response(body, headers={"Content-Type": content_type})


@router.head("/", include_in_schema=False, response_model=None)
@router.get("/", response_model=WelcomeOut)
@marked(KNOWN_OR_PAGE)
async def welcome(request: Request) -> WelcomeOut | Response:
    """Tell a newcomer where to look; a browser gets the page, which holds no data and is open to everybody."""
    if wants_page(request.scope):
        page: Page = request.app.state.page
        return page.index.response(request, cache=ASK_AGAIN, vary="Accept, Accept-Encoding")
    return WelcomeOut(version=request.app.version)
