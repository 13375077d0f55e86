"""A reranking server over real TCP: Cohere's and Jina's protocol, right answers and every fault.

    with start_rerank_server() as server:
        server.reply = Reply(status=500)
        ...  # server.url
        assert server.requests

Unless told otherwise it ranks by how often a passage has the word `word`, or answers with `scores`.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """How to answer.

    Attributes:
        word: passages are scored by how often they have it.
        results: in place of the right ones.
        body: in place of JSON.
        delay: seconds before anything is sent.

    """

    status: int = 200
    word: str = "bread"
    results: object = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True)
class Seen:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


class RerankServer:
    """See `start_rerank_server`.

    Attributes:
        reply: to requests from now on.
        requests: so far.
        max_at_once: requests that were being answered side by side.

    """

    def __init__(self, port: int) -> None:
        self.reply = Reply()
        self.requests: list[Seen] = []
        self.max_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self.url = f"http://127.0.0.1:{port}"

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count a request as long as it is being answered."""
        with self._lock:
            self._now += 1
            self.max_at_once = max(self.max_at_once, self._now)
        try:
            yield
        finally:
            with self._lock:
                self._now -= 1

    def content(self, body: Mapping[str, Any]) -> bytes:
        """Return the body of the reply."""
        reply = self.reply
        if reply.body is not None:
            return reply.body
        ranked = [
            {"index": index, "relevance_score": text.lower().count(reply.word) / 10}
            for index, text in enumerate(body["documents"])
        ]
        ranked.sort(key=lambda each: -each["relevance_score"])
        results = ranked if reply.results is None else reply.results
        return json.dumps({"id": "x", "results": results}).encode()


@contextlib.contextmanager
def start_rerank_server() -> Iterator[RerankServer]:
    """Lend a server that runs."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            server.requests.append(Seen(self.path, headers, body))
            reply = server.reply
            with server.counted():
                time.sleep(reply.delay)
            content = server.content(body)
            with contextlib.suppress(ConnectionError):  # the client may have left
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            """Say nothing of clients that have left."""

    http = Server(("127.0.0.1", 0), Handler)
    server = RerankServer(http.server_port)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
