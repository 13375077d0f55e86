"""The page that a browser gets at `/`, and the files in `web/` that it is made of.

They hold no data and are open to everybody; what the page shows it fetches with the key of whoever looks at it. A
file's address has the hash of all files in it, so that browsers keep it for good and never mix two versions.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from starlette.exceptions import HTTPException
from starlette.types import Scope

from server.api.scopes import OPEN, marked

WEB = Path(__file__).parents[2] / "web"
INDEX = "index.html"
BUILD = "BUILD"
"""What stands in the index for the hash of all files."""

TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
# `require-trusted-types-for`: a script that writes markup which DOMPurify has not cleaned is stopped by the browser
POLICY = (
    "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
FOR_GOOD = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
SMALL = 512
"""Bytes below which compressing gains nothing."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class WebFile:
    """A file of the page."""

    content: bytes
    content_type: str

    @cached_property
    def tag(self) -> str:
        """Its `ETag`."""
        return f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'

    @cached_property
    def compressed(self) -> bytes | None:
        """As gzip; None where that gains nothing. Made when it is first asked for."""
        return gzip.compress(self.content, 9, mtime=0) if len(self.content) > SMALL else None

    def response(self, request: Request, *, cache: str, vary: str = "Accept-Encoding") -> Response:
        """Return it, compressed where that is accepted, or 304 where the client has it."""
        headers = {**HEADERS, "Cache-Control": cache, "ETag": self.tag, "Vary": vary}
        if self.tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if self.compressed is not None and _accepts(request.headers.get("accept-encoding", ""), "gzip") > 0:
            headers["Content-Encoding"] = "gzip"
            return Response(self.compressed, media_type=self.content_type, headers=headers)
        return Response(self.content, media_type=self.content_type, headers=headers)


class Page:
    """The files of a folder, read once.

    Attributes:
        build: hash of all files.
        index: the page itself.

    """

    def __init__(self, folder: Path = WEB) -> None:
        """Read the files; raise `FileNotFoundError` where the page is not there."""
        contents = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.suffix in TYPES
        }
        if INDEX not in contents:
            msg = f"there is no page in {folder}; FOOTNOTE_SERVER__PAGE=false serves without it"
            raise FileNotFoundError(msg)
        digest = hashlib.sha256()
        for name, content in contents.items():
            digest.update(name.encode() + b"\0" + content + b"\0")
        self.build = digest.hexdigest()[:16]
        index = contents.pop(INDEX).replace(BUILD.encode(), self.build.encode())
        self.index = WebFile(index, TYPES[".html"])
        self._files = {name: WebFile(content, TYPES[Path(name).suffix]) for name, content in contents.items()}

    @property
    def paths(self) -> frozenset[str]:
        """The addresses of the files, which no limit on requests counts."""
        return frozenset(f"/web/{self.build}/{name}" for name in self._files)

    def file(self, name: str) -> WebFile | None:
        """Return a file; None where there is none of that name."""
        return self._files.get(name)


def wants_page(scope: Scope) -> bool:
    """Tell whether a request gets the page: its client would rather have that, and there is one."""
    accept = b",".join(value for name, value in scope["headers"] if name == b"accept").decode("latin-1")
    return scope["app"].state.page is not None and prefers_page(accept)


def prefers_page(accept: str) -> bool:
    """Tell whether a client would rather have HTML than JSON: browsers say so, nothing else does."""
    return _accepts(accept, "text/html") > _accepts(accept, "application/json")


@router.head("/web/{build}/{name:path}")
@router.get("/web/{build}/{name:path}")
@marked(OPEN)
async def web_file(
    build: Annotated[str, InPath(max_length=64)], name: Annotated[str, InPath(max_length=200)], request: Request
) -> Response:
    """Return a file of the page; one of another build as it is here, to be asked for anew."""
    page: Page | None = request.app.state.page
    file = None if page is None else page.file(name)
    if page is None or file is None:
        raise HTTPException(404)
    return file.response(request, cache=FOR_GOOD if build == page.build else ASK_AGAIN)


def _accepts(header: str, wanted: str) -> float:
    """Return the weight that an `Accept` or `Accept-Encoding` gives to something; its most exact entry decides."""
    family = f"{wanted.partition('/')[0]}/*" if "/" in wanted else "*"
    weights = {}
    for entry in header.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        quality = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        try:
            weights[name] = float(quality)
        except ValueError:
            weights[name] = 0.0
    return next((weights[name] for name in (wanted, family, "*/*", "*") if name in weights), 0.0)
