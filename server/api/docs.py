"""The page at `/docs` to try every route: Swagger UI, from files of this server and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from starlette.exceptions import HTTPException

from server.api.page import ASK_AGAIN, TYPES, WebFile
from server.api.scopes import KNOWN, OPEN, marked
from server.api.session_cookies import HEADER

FOLDER = Path(__file__).parent / "swagger"
INDEX = b"""<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <title>Footnote's HTTP interface</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="/docs/files/swagger-ui.css" />
    <script src="/docs/files/swagger-ui-bundle.js" defer></script>
    <script src="/docs/files/begin.js" defer></script>
  </head>
  <body><div id="swagger-ui"></div></body>
</html>
"""
BEGIN = f"""addEventListener("DOMContentLoaded", () => SwaggerUIBundle({{
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  requestInterceptor: (request) => {{
    if (new URL(request.url, location.href).origin === location.origin) request.headers["{HEADER}"] = "docs";
    return request;
  }},
}}));
""".encode()
POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY}
router = APIRouter(include_in_schema=False)
_files: dict[str, WebFile] = {}


@router.get("/docs")
@marked(KNOWN)
async def show_docs(request: Request) -> Response:
    """Return the page."""
    return _answered(WebFile(INDEX, TYPES[".html"]), request)


@router.get("/docs/files/{name}")
@marked(OPEN)
async def docs_file(name: Annotated[str, InPath(max_length=100)], request: Request) -> Response:
    """Return a file of the page, which holds nothing of this server."""
    return _answered(_file(name), request)


def _file(name: str) -> WebFile:
    """Return a file; those that are large are read when they are first asked for."""
    if name == "begin.js":
        return WebFile(BEGIN, TYPES[".js"])
    path = FOLDER / name
    if path.suffix not in {".js", ".css"} or path.parent != FOLDER or not path.is_file():
        raise HTTPException(404)
    if name not in _files:
        _files[name] = WebFile(path.read_bytes(), TYPES[path.suffix])
    return _files[name]


def _answered(file: WebFile, request: Request) -> Response:
    response = file.response(request, cache=ASK_AGAIN)
    response.headers.update(HEADERS)
    return response
