"""Texts and schemas of the OpenAPI document that FastAPI cannot derive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from config.plug_ins import chat_engine_names, engine_names
from config.settings import PlugInSettings
from server.api.problems import KINDS, MALFORMED, MEDIA_TYPE
from server.api.schemas.problems import ProblemOut
from server.api.schemas.questions import OWN_ENGINE, QuestionBody, with_modes
from server.api.scopes import Access, access_of

DESCRIPTION = """\
Questions in, answers with footnotes out: Footnote serves a LlamaIndex index in PostgreSQL.

Every error is a problem document (RFC 9457, `application/problem+json`), and every response carries `X-Request-ID`:
your own if you send one (letters, digits, `.`, `_` and `-`, 128 at most), else a new one.
"""
TAGS = [
    {"name": "asking", "description": "Answers, whole or in pieces, and passages alone."},
    {"name": "chatting", "description": "Answers within conversations that Footnote keeps."},
    {"name": "feedback", "description": "Ratings of answers."},
    {"name": "quality", "description": "Golden questions, and evaluations with them."},
    {"name": "collections", "description": "Collections of documents, and their generations."},
    {"name": "documents", "description": "What is searched: upload, replace, list, read and delete documents."},
    {"name": "jobs", "description": "The indexing of uploaded documents: state, progress, retries."},
    {"name": "openai", "description": "The same through OpenAI's protocol; errors have its shape under `/v1`."},
    {"name": "access", "description": "API keys, tenants, and who asks."},
    {"name": "usage", "description": "What language models have used, for whom."},
    {"name": "audit", "description": "What was done, by whom, and what was refused."},
    {"name": "operating", "description": "For load balancers and people."},
]
EXAMPLE_STREAM = """\
id: 1
event: sources
data: {"citations":[…],"sources":["docs/configuration.md"],"collection":"default","generation":"1","trace_id":null,…}

id: 2
event: token
data: {"token": "Set `FOOTNOTE_SERVER__PORT` [1]."}

id: 3
event: done
data: {"finish_reason":"stop","model":"gpt-4.1-mini","usage":null,"cost_usd":null,"timings_ms":{"total":812.4},…}

data: [DONE]
"""
EVENT_SCHEMA = {
    "type": "object",
    "description": "One event; `data` is JSON, but `[DONE]` in the last one, which has no name: a `message`.",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string", "enum": ["sources", "token", "reasoning", "done", "error", "message"]},
        "data": {"type": "string"},
    },
    "required": ["data"],
}
STREAM = {"text/event-stream": {"schema": EVENT_SCHEMA, "example": EXAMPLE_STREAM}}
EXAMPLE_JOB_STREAM = """\
id: 1
event: progress
data: {"id":"0b1f6f0e-…","kind":"index-document","status":"running","progress":{"done":0,"total":1},…}

id: end
event: done
data: {"id":"0b1f6f0e-…","kind":"index-document","status":"succeeded","progress":{"done":1,"total":1},…}

data: [DONE]
"""
JOB_EVENT_SCHEMA = {
    "type": "object",
    "description": "One event; `data` is the job, of an `error` a problem, and `[DONE]` in the last one.",
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string", "enum": ["progress", "done", "error", "message"]},
        "data": {"type": "string"},
    },
    "required": ["data"],
}
JOB_STREAM = {"text/event-stream": {"schema": JOB_EVENT_SCHEMA, "example": EXAMPLE_JOB_STREAM}}


SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a token of the identity provider."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}

BY_KEY: tuple[dict[str, list[str]], ...] = ({"bearer": []}, {"key": []})
NO_KEY: dict[str, list[str]] = {}


class DocumentedAPI(FastAPI):
    """Adds to the OpenAPI document the schema `Problem`, which `problem_responses` refers to, and what needs a key."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        document = super().openapi()
        schemas = document["components"]["schemas"]
        if not self.state.is_named:
            self.state.is_named = True
            _name_plug_ins(schemas, self.state.plug_ins)
        problem = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs"))
        schemas["Problem"] = problem
        document["components"]["securitySchemes"] = SECURITY
        document["security"] = [*BY_KEY] if self.state.keys_required else [*BY_KEY, NO_KEY]
        for path, method, access in self._open_routes():
            open_to_all: dict[str, Any] = document["paths"].get(path, {}).get(method.lower(), {})
            open_to_all["security"] = [*BY_KEY, NO_KEY] if access.tells_more else []
        return document

    def _open_routes(self) -> Iterator[tuple[str, str, Access]]:
        for route in iter_route_contexts(self.router.routes):
            access = access_of(route.endpoint)
            if access is not None and access.is_open:
                yield from ((str(route.path), method, access) for method in route.methods or ())


def _name_plug_ins(schemas: dict[str, Any], settings: PlugInSettings) -> None:
    """Name plug-ins' engines where the document says what `mode` may be."""
    engines, chat_engines = engine_names(settings), chat_engine_names(settings)
    for name, schema in schemas.items():
        properties = schema.get("properties", {})
        if OWN_ENGINE in properties.get("mode", {}).get("description", ""):
            chats = () if name == QuestionBody.__name__ else chat_engines
            properties["mode"] = with_modes(properties["mode"], engines, chats)


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's ``responses`` for problems with these statuses."""
    return {status: _response(status) for status in statuses}


def _response(status: int) -> dict[str, Any]:
    kinds = [kind for kind in (MALFORMED, *KINDS.values()) if kind.status == status]
    return {
        "description": "; ".join(sorted(f"`{kind.slug}`: {kind.title.lower()}" for kind in kinds)),
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
