"""A model server that answers at once, in OpenAI's protocol: ``python -m benchmarks.instant_model``; prints its URL.

Whole answers come as one JSON object, streams as forty events. It knows no more of HTTP than the benchmark needs: it
must not be what is measured.
"""

from __future__ import annotations

import asyncio
import json
from typing import cast

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


class Connection(asyncio.Protocol):
    """A client's connection, which asks for one answer at a time."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def data_received(self, data: bytes) -> None:
        """Answer a request when it is whole."""
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        if not blank or len(body) < length:
            return
        self._received = b""
        if b"/chat/completions " not in head[:60]:
            self._transport.write(OTHER)
        else:
            self._transport.write(STREAMED if json.loads(body).get("stream") else WHOLE)


async def main() -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0, backlog=2048)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    import signal

    import uvloop

    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
