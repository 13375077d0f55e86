"""A streamed answer as OpenAI's chunks: ``data: {…}`` lines, the last one ``data: [DONE]``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from server.answers import Done, Event, Reasoning, Sources, Token
from server.api.error_handlers import log_failure
from server.api.openai.answer_schemas import (
    DetailsOut,
    Form,
    call_delta,
    finish_reason_of,
    opening,
    said_as,
    usage_of,
)
from server.api.openai.errors import translated
from server.api.problems import clean, problem_of
from server.api.schemas.answers import CitationOut
from server.tool_calls import CallPiece

END = b"data: [DONE]\n\n"
_CITATIONS = TypeAdapter(list[CitationOut])


class ChunkEncoder:
    """See `server.streams.run.Encoder`.

    `citations` and `rerank` are members of the last delta, so that clients that add deltas up have them in their
    message; of its chunk; and of the chunk that counts the tokens, where there is one. In another form than text,
    all is sent at the end: JSON by a schema comes in one piece anyway, and may be a refusal.
    """

    def __init__(
        self,
        *,
        completion_id: str,
        created: int,
        model: str,
        request_id: str,
        include_usage: bool,
        form: Form = "text",
    ) -> None:
        self._head = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._request_id = request_id
        self._include_usage = include_usage
        self._form = form
        self._held: list[str] | None = None if form == "text" else []
        self._sources: Sources | None = None
        before, _, after = self._chunk({"content": "\0"}).partition(b'"\\u0000"')
        self._before_token, self._after_token = before, after

    def event(self, event: Event, *, number: int, stream_id: str) -> bytes:  # noqa: ARG002 (other encodings tell them)
        """Return the chunk of an event; of `Done`, the last chunks and the end mark."""
        if isinstance(event, Token):
            return self._token(event.text)
        if isinstance(event, Reasoning):
            if event.retracts:
                return self._chunk({"reasoning_content": ""}, footnote={"retracts": True})
            return self._chunk({"reasoning_content": clean(event.text)})
        if isinstance(event, CallPiece):
            return self._chunk({"tool_calls": [call_delta(event)]})
        if isinstance(event, Done):
            said = self._said(event)
            return (self._chunk(said) if said else b"") + self._ending(event, said) + END
        self._sources = event
        return self._chunk({"role": "assistant", "content": ""}, footnote=opening(event, request_id=self._request_id))

    def _token(self, text: str) -> bytes:
        if self._held is not None:
            self._held.append(text)
            return b""
        # hundreds of them: what does not change is written once
        return self._before_token + json.dumps(clean(text), ensure_ascii=False).encode() + self._after_token

    def error(self, error: Exception, *, number: int) -> bytes:  # noqa: ARG002 (see above)
        """Return the frame of an error as OpenAI's clients expect it; log it if it is the server's fault."""
        problem = problem_of(error, request_id=self._request_id)
        log_failure(error, problem)
        return _frame(translated(problem.document(self._request_id)).body()) + END

    def _said(self, done: Done) -> dict[str, Any]:
        """Return what was held back, in the form that was asked for; next to calls of tools that is free text."""
        if not self._held:
            return {}
        form = "text" if done.finish_reason == "tool_calls" else self._form
        said = said_as(clean("".join(self._held)), done, form)
        for number, call in enumerate(said.get("tool_calls", ())):
            call["index"] = number
        return said

    def _ending(self, done: Done, said: Mapping[str, Any]) -> bytes:
        assert self._sources is not None  # noqa: S101 (the first event of every stream)
        citations = _CITATIONS.dump_python(
            _CITATIONS.validate_python(done.citations, from_attributes=True), mode="json"
        )
        details = DetailsOut.of(self._sources, done, request_id=self._request_id).model_dump(mode="json")
        found = {"citations": citations, "rerank": details["rerank"]}
        further = {**found, "footnote": details}
        frame = self._chunk(found, finish_reason=finish_reason_of(done, said), **further)
        if not self._include_usage:
            return frame
        usage = usage_of(done)
        counts = None if usage is None else {name: getattr(usage, name) for name in usage.__slots__}
        return frame + _frame({**self._head, "choices": [], "usage": counts, **further})

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None, **further: object) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        usage = {"usage": None} if self._include_usage else {}
        return _frame({**self._head, "choices": [choice], **usage, **further})


def _frame(data: object) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()
