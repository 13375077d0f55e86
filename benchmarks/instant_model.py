"""A model server that answers at once, in OpenAI's protocol: ``python -m benchmarks.instant_model``; prints its URL.

Whole answers come as one JSON object, streams as forty events.
"""

from __future__ import annotations

import json

from benchmarks.tiny_server import Requests, run

ANSWER = "The manual says so in its first passage [1], and the second one agrees with it in other words [2]."
WORDS = [word + " " for word in f"{ANSWER} {ANSWER}".split(" ")]
USAGE = {"prompt_tokens": 1000, "completion_tokens": len(WORDS), "total_tokens": 1000 + len(WORDS)}
SAME = {"id": "chatcmpl-1", "created": 1700000000, "model": "instant"}


def _whole() -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS).strip()}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return _response("application/json", {**SAME, "object": "chat.completion", "choices": [choice], "usage": USAGE})


def _streamed() -> bytes:
    deltas = [{"index": 0, "delta": {"content": word}, "finish_reason": None} for word in WORDS]
    deltas.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks = [{**SAME, "object": "chat.completion.chunk", "choices": [delta]} for delta in deltas]
    chunks.append({**SAME, "object": "chat.completion.chunk", "choices": [], "usage": USAGE})
    events = [*map(json.dumps, chunks), "[DONE]"]
    return _response("text/event-stream", "".join(f"data: {event}\n\n" for event in events))


def _response(kind: str, body: object) -> bytes:
    sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(sent)}\r\n\r\n"
    return head.encode() + sent


WHOLE, STREAMED = _whole(), _streamed()
OTHER = _response("application/json", {"object": "list", "data": [{"id": "instant", "object": "model"}]})


class Connection(Requests):
    """Answers at once."""

    def asked(self, line: bytes, body: bytes) -> None:
        """Answer as it was asked for, whole or as a stream."""
        if b"/chat/completions " not in line:
            self._transport.write(OTHER)
        else:
            self._transport.write(STREAMED if json.loads(body).get("stream") else WHOLE)


if __name__ == "__main__":
    run(Connection)
