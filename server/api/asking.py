"""Shared by `/query` and `/chat`: answers as documents or streams, with or without an idempotency key."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from server.answers import Answer, Event, collect, events_of
from server.api.context import request_id_of, runtime_of
from server.api.disconnects import ended_by_disconnect
from server.api.schemas.answers import AnswerOut
from server.api.sse import EventEncoder, open_run
from server.principal import EVERYBODY, owner_of_caller, principal, view_of_caller
from server.services.idempotency import Key
from server.streams.run import Run

REPLAYED = {"Idempotent-Replayed": "true"}
GIVEN_AGAIN = {"Cache-Status": "footnote; hit"}
"""RFC 9211; a stream has `cached` in its event `sources` instead."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for an answer.

    Attributes:
        kind: the endpoint, which is part of the fingerprint for idempotency keys.
        events: returns the answer's events, given the stream's id and the idempotency key, if there is one.
        keeps_keys: whether those events store the answer for the key themselves.

    """

    kind: str
    body: BaseModel
    events: Callable[[str, Key | None], AsyncIterator[Event]]
    keeps_keys: bool

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the request without `stream`, so that one key serves both forms; another's view differs."""
        asked = json.dumps(self.body.model_dump(mode="json", exclude={"stream"}), sort_keys=True)
        if principal() not in {None, EVERYBODY}:
            asked += json.dumps([owner_of_caller(), view_of_caller()])
        return hashlib.sha256(f"{self.kind} {asked}".encode()).hexdigest()


async def answer_whole(request: Request, asked: Asked, *, key: str | None, schema: type[AnswerOut]) -> Response:
    """Answer as one document; if the client disconnects, the work ends, unless its key lets it ask again."""
    headers = None
    async with ended_by_disconnect(request):
        if key is None:
            answer = await collect(asked.events(runtime_of(request).streams.new_id(), None))
        else:
            joined, headers = await _joined(request, asked, key)
            answer = joined if isinstance(joined, Answer) else await joined.answer()
    if answer.sources.cached:
        headers = {**(headers or {}), **GIVEN_AGAIN}
    out = schema.of(answer, request_id=request_id_of(request.scope))
    return Response(out.model_dump_json(), media_type="application/json", headers=headers)


async def answer_stream(request: Request, asked: Asked, *, key: str | None) -> Response:
    """Answer as a resumable stream of server-sent events."""
    streams = runtime_of(request).streams
    stream_id = streams.new_id()
    encoder = EventEncoder(request_id_of(request.scope))
    if key is None:
        events = streams.counted(asked.events(stream_id, None))
        return await open_run(request, streams.start(events, encoder=encoder, stream_id=stream_id))
    async with ended_by_disconnect(request):
        joined, headers = await _joined(request, asked, key, is_stream=True)
    if isinstance(joined, Answer):
        # not resumable: the key gives the answer again, and deleting the conversation must leave no copy
        joined = streams.start(events_of(joined), encoder=encoder, stream_id=stream_id, resumable=False)
    return await open_run(request, joined, headers=headers)


async def _joined(
    request: Request, asked: Asked, given: str, *, is_stream: bool = False
) -> tuple[Run | Answer, dict[str, str] | None]:
    """Return the run or the answer of a key, with the header of a replay where an earlier request started it."""
    runtime = runtime_of(request)
    headers: dict[str, str] | None = REPLAYED

    def start(key: Key, stream_id: str) -> Run:
        nonlocal headers
        headers = None
        events = asked.events(stream_id, key)
        if is_stream:
            events = runtime.streams.counted(events)
        events = key.guard(events, keep=not asked.keeps_keys)
        encoder = EventEncoder(request_id_of(request.scope))
        return runtime.streams.start(events, encoder=encoder, stream_id=stream_id, keyed=True)

    joined = await runtime.idempotency.join(
        given, fingerprint=asked.fingerprint, start=start, stream_id=runtime.streams.new_id()
    )
    return joined, headers
