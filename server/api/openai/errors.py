"""Problems in OpenAI's shape, for everything under ``/v1``: ``{"error": {"message", "type", "param", "code"}}``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api import problems
from server.api.schemas.questions import SearchOptions

PREFIX = "/v1"
COMPLETIONS = f"{PREFIX}/chat/completions"
# codes that clients compare with; other problems keep their slug
CODES = {
    "collection-not-found": "model_not_found",
    "model-not-found": "model_not_found",
    "context-length-exceeded": "context_length_exceeded",
    "rate-limited": "rate_limit_exceeded",
    "budget-exhausted": "insufficient_quota",
    "unauthenticated": "invalid_api_key",
}
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
OFFERED = f"Footnote has POST {COMPLETIONS}, POST {PREFIX}/embeddings and GET {PREFIX}/models"
_MEANINGS: Mapping[int | str, str] = {
    400: "A part of the request is wrong, or cannot be honoured; `param` names it.",
    401: "There is no key or token, or none that is accepted.",
    403: "The key or token does not have the scope `query`; or a web page of another origin sent it.",
    404: "There is no such model.",
    409: "The collection was built with another embedding model.",
    413: "The body is too large.",
    415: "The body is no JSON.",
    421: "The server is not called so.",
    429: "A limit or budget is reached, too many wrong keys came, or the provider asks for patience: `Retry-After`.",
    "4XX": "The request cannot be answered.",
    500: "Something went wrong; the server's log tells what.",
    502: "The language model failed, or refused the request.",
    503: "The database or the model cannot be reached, or the server is busy; `Retry-After` says when to try again.",
    504: "It took too long.",
}


class ErrorOut(BaseModel):
    """An error as OpenAI's clients read it."""

    class DetailsOut(BaseModel):
        """What is wrong."""

        message: str
        type: str = Field(examples=["invalid_request_error"])
        param: str | None = Field(examples=["messages[0].content"], description="The part of the request.")
        code: str | None = Field(examples=["model_not_found"])

    error: DetailsOut


@dataclass(frozen=True, slots=True)
class OpenAIError:
    """An error in OpenAI's terms.

    Attributes:
        retryable: whether a client may send the same request again.

    """

    status: int
    message: str
    type: str
    param: str | None
    code: str
    retryable: bool

    def body(self) -> dict[str, object]:
        """Return what clients get."""
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}


def translated(document: Mapping[str, Any]) -> OpenAIError:
    """Return a problem document in OpenAI's terms."""
    slug = str(document["type"]).rpartition("/")[2]
    status = 400 if document["status"] == 422 else int(document["status"])  # noqa: PLR2004 (OpenAI has no 422)
    param, message = _fault(slug, document)
    return OpenAIError(
        status=status,
        message=message,
        type=TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error"),  # noqa: PLR2004 (5xx)
        param=param,
        code=CODES.get(slug, slug),
        retryable=slug in problems.RETRYABLE,
    )


def error_responses() -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route under ``/v1``."""
    return {status: {"model": ErrorOut, "description": _MEANINGS[status]} for status in _MEANINGS}


class OpenAIErrors:
    """Translates the problem documents of ``/v1``, whichever part of the server they come from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(f"{PREFIX}/"):
            await self._app(scope, receive, send)
            return
        held: list[Message] = []

        async def send_translated(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_problem(message):
                held.append(message)  # its length and status depend on the body
            elif held:
                for translation in _translate(held.pop(), message):
                    await send(translation)
            else:
                await send(message)

        await self._app(scope, receive, send_translated)


def _is_problem(start: Message) -> bool:
    return (b"content-type", problems.MEDIA_TYPE.encode()) in start["headers"]


def _translate(start: Message, message: Message) -> tuple[Message, Message]:
    """Return the start and the body of the response; a problem's body comes in one piece."""
    error = translated(json.loads(message["body"]))
    body = json.dumps(error.body(), ensure_ascii=False).encode()
    headers = MutableHeaders(raw=list(start["headers"]))
    headers["Content-Type"] = "application/json"
    headers["Content-Length"] = str(len(body))
    if error.status >= 409 and not error.retryable:  # noqa: PLR2004 (what OpenAI's clients would try again)
        headers["X-Should-Retry"] = "false"
    return {**start, "status": error.status, "headers": headers.raw}, {**message, "body": body}


def _fault(slug: str, document: Mapping[str, Any]) -> tuple[str | None, str]:
    """Return the part of the request that is wrong, and the message."""
    detail = str(document["detail"])
    errors: Sequence[Mapping[str, str]] = document.get("errors", ())
    if errors and slug != "forbidden":
        param = _param(errors[0]["field"])
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return param, f"{param or 'the request'}: {errors[0]['reason']}{more}"
    if slug in {"not-found", "method-not-allowed"}:
        return None, f"{detail.partition(';')[0]}; {OFFERED}"
    if CODES.get(slug) == "model_not_found":
        return "model", f"{detail}; GET {PREFIX}/models lists what there is"
    return None, detail


def _param(field: str) -> str | None:
    """Return a dotted path as OpenAI writes it: ``messages[0].content``; None for the body as a whole."""
    if field == "body":
        return None
    if field.partition(".")[0] in SearchOptions.model_fields:  # from an engine, which does not know the protocol
        field = f"footnote.{field}"
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", field)
