"""A streamed answer as OpenAI's chunks: ``data: {…}`` lines, the last one ``data: [DONE]``."""

from __future__ import annotations

import json
from typing import Any

from pydantic import TypeAdapter

from server.answers import Done, Event, Reasoning, Sources, Token
from server.api.error_handlers import log_failure
from server.api.openai.answer_schemas import DetailsOut, finish_reason_of, opening, usage_of
from server.api.openai.errors import translated
from server.api.problems import clean, problem_of
from server.api.schemas.answers import CitationOut

END = b"data: [DONE]\n\n"
_CITATIONS = TypeAdapter(list[CitationOut])


class ChunkEncoder:
    """See `server.streams.run.Encoder`.

    `citations` and `rerank` are members of the last delta, so that clients that add deltas up have them in their
    message; of its chunk; and of the chunk that counts the tokens, where there is one.
    """

    def __init__(self, *, completion_id: str, created: int, model: str, request_id: str, include_usage: bool) -> None:
        self._head = {"id": completion_id, "object": "chat.completion.chunk", "created": created, "model": model}
        self._request_id = request_id
        self._include_usage = include_usage
        self._sources: Sources | None = None
        before, _, after = self._chunk({"content": "\0"}).partition(b'"\\u0000"')
        self._before_token, self._after_token = before, after

    def event(self, event: Event, *, number: int, stream_id: str) -> bytes:  # noqa: ARG002 (other encodings tell them)
        """Return the chunk of an event; of `Done`, the last chunks and the end mark."""
        if isinstance(event, Token):  # hundreds of them: what does not change is written once
            return self._before_token + json.dumps(clean(event.text), ensure_ascii=False).encode() + self._after_token
        if isinstance(event, Reasoning):
            if event.retracts:
                return self._chunk({"reasoning_content": ""}, footnote={"retracts": True})
            return self._chunk({"reasoning_content": clean(event.text)})
        if isinstance(event, Done):
            return self._ending(event) + END
        self._sources = event
        return self._chunk({"role": "assistant", "content": ""}, footnote=opening(event, request_id=self._request_id))

    def error(self, error: Exception, *, number: int) -> bytes:  # noqa: ARG002 (see above)
        """Return the frame of an error as OpenAI's clients expect it; log it if it is the server's fault."""
        problem = problem_of(error, request_id=self._request_id)
        log_failure(error, problem)
        return _frame(translated(problem.document(self._request_id)).body()) + END

    def _ending(self, done: Done) -> bytes:
        assert self._sources is not None  # noqa: S101 (the first event of every stream)
        citations = _CITATIONS.dump_python(
            _CITATIONS.validate_python(done.citations, from_attributes=True), mode="json"
        )
        details = DetailsOut.of(self._sources, done, request_id=self._request_id).model_dump(mode="json")
        found = {"citations": citations, "rerank": details["rerank"]}
        further = {**found, "footnote": details}
        frame = self._chunk(found, finish_reason=finish_reason_of(done), **further)
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
