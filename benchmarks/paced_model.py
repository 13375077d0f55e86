"""A model server with a fixed pace, in OpenAI's protocol: ``python -m benchmarks.paced_model``; prints its URL.

Each token is the moment it was sent, ``" 12345.678901"`` in seconds of the machine's monotonic clock, so that whoever
reads it knows how long it was on its way; or, where the pace has a text, the next piece of that. ``POST /pace`` with
`Pace` as JSON sets how the next answers come, and lets go of those that are held; any other address tells how many are.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass

from benchmarks.tiny_server import Requests, run

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENT = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"paced",'
    '"system_fingerprint":"fp_1","choices":[%s],"usage":%s}\n\n'
)
TOKEN = EVENT % ('{"index":0,"delta":{"content":%s},"logprobs":null,"finish_reason":null}', "null")
PIECE = 4
"""Characters of a text that make a token."""
USAGE = '{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100}'


@dataclass(frozen=True, slots=True)
class Pace:
    """How answers come.

    Attributes:
        rate: tokens a second.
        tokens: of an answer.
        held: whether answers stop before their end until the pace is set again.
        text: what the tokens say, over and over; empty: when they were sent.

    """

    rate: float = 30.0
    tokens: int = 100
    held: bool = False
    text: str = ""

    def token(self, number: int) -> str:
        """Return a token, from 0, as JSON."""
        if not self.text:
            return f'" {time.monotonic():.6f}"'
        at = number * PIECE % len(self.text)
        return json.dumps(self.text[at : at + PIECE])


class PacedModel:
    """The server's state: the pace, and the answers that wait for their end."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.held: set[Connection] = set()

    def set(self, pace: Pace) -> None:
        """Set the pace of the next answers; end those that are held."""
        self.pace = pace
        held, self.held = self.held, set()
        for connection in held:
            connection.end()


class Connection(Requests):
    """Answers at the model's pace."""

    def __init__(self, model: PacedModel) -> None:
        super().__init__()
        self._model = model
        self._timer: asyncio.TimerHandle | None = None

    def connection_lost(self, _: Exception | None) -> None:
        """Stop writing."""
        self._model.held.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def asked(self, line: bytes, body: bytes) -> None:
        """Begin an answer, or set the pace."""
        if b"/chat/completions " in line:
            self._answer(self._model.pace)
            return
        if b"/pace " in line:
            self._model.set(Pace(**json.loads(body)))
        self._tell({"data": [], "held": len(self._model.held)})

    def _answer(self, pace: Pace) -> None:
        self._pace, self._sent = pace, 0
        self._transport.write(HEAD)
        # the first token at once, the others at moments of their own: streams do not beat in time
        self._due = asyncio.get_running_loop().time() - random.random() / pace.rate  # noqa: S311 (no secret)
        self._token()

    def _token(self) -> None:
        self._chunk((TOKEN % self._pace.token(self._sent)).encode())
        self._sent += 1
        self._due += 1 / self._pace.rate
        if self._sent < self._pace.tokens:
            self._timer = asyncio.get_running_loop().call_at(self._due, self._token)
        elif self._pace.held:
            self._model.held.add(self)
        else:
            self.end()

    def end(self) -> None:
        """Finish the answer."""
        self._chunk((EVENT % ('{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}', "null")).encode())
        self._chunk((EVENT % ("", USAGE)).encode() + b"data: [DONE]\n\n")
        self._transport.write(b"0\r\n\r\n")

    def _tell(self, what: object) -> None:
        body = json.dumps(what).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    def _chunk(self, data: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))


if __name__ == "__main__":
    paced = PacedModel()
    run(lambda: Connection(paced))
