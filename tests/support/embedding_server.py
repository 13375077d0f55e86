"""A scripted embedding server over real HTTP: OpenAI's protocol and Ollama's, right answers and every fault.

    with start_embedding_server() as server:
        server.script(Fault(status=429, retry_after="1"), Fault(cut=True))
        ...  # server.openai_url, server.ollama_url
        assert server.texts == [...]

Each request takes the next fault, then it is answered. A vector is the sum of a made-up one for each of a text's words,
so that texts which share words are near each other; another `seed` is another model.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import numpy as np


@dataclass(frozen=True)
class Fault:
    """What becomes of one request.

    Attributes:
        status: instead of 200; `said` is its message.
        cut: the connection is reset within the answer.
        delay: seconds before the answer.
        body: sent as the answer.
        vector: sent in place of each vector.

    """

    status: int = 200
    said: str = "no"
    retry_after: str | None = None
    cut: bool = False
    delay: float = 0.0
    body: bytes | None = None
    vector: Any = None


class EmbeddingServer:
    """See `start_embedding_server`.

    Attributes:
        requests: bodies as they came; `headers` likewise, `times` when.
        dimension: of its vectors; `seed`: which model it is; `noise`: how far its vectors are from the last ones.
        lacks: a regular expression of words that it embeds as another model would: they are not in its vocabulary.
        refuses: a regular expression of texts that it refuses.
        most_texts: that one request may have; `most_characters`: that a text may have.
        seconds_a_text: that it computes, one request after the other, those included whose client has left.
        takes_dimensions: whether it honours `dimensions`, or refuses them.
        behind: base URL of a real server of OpenAI's protocol that answers what no fault befalls.

    """

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.dimension = 32
        self.seed = 1
        self.noise = 0.0
        self.lacks = ""
        self.refuses = ""
        self.most_texts = 10_000
        self.most_characters = 1_000_000
        self.seconds_a_text = 0.0
        self.takes_dimensions = True
        self.counts_usage = True
        self.behind = ""
        self.at_once = self.most_at_once = 0
        self.always: Fault | None = None
        self.port = 0
        self._faults: deque[Fault] = deque()
        self._lock, self._computing = threading.Lock(), threading.Lock()

    @property
    def openai_url(self) -> str:
        """The base URL of OpenAI's protocol."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def ollama_url(self) -> str:
        """The base URL of Ollama's."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        """All texts that were asked for, probes left out."""
        from embedding.remote.probes import PROBES

        return [text for request in self.requests for text in request["input"] if text not in PROBES.values()]

    def script(self, *faults: Fault) -> None:
        """Let the next requests take these."""
        self._faults.extend(faults)

    def fault(self) -> Fault:
        """Take the next one."""
        with self._lock:
            return self.always or (self._faults.popleft() if self._faults else Fault())

    def vector(self, text: str, dimension: int | None = None) -> list[float]:
        """Return a text's vector, not of length one."""
        made = np.zeros(self.dimension)
        for word in re.findall(r"\w+", text.lower()) or [text]:
            seed = "pruned" if self.lacks and re.search(self.lacks, word) else self.seed
            digest = hashlib.sha256(f"{seed} {word}".encode()).digest()
            made += np.random.default_rng(int.from_bytes(digest[:8], "big")).normal(size=self.dimension)
        if self.noise:
            made += self.noise * np.random.default_rng().normal(size=self.dimension)
        return (3 * made[: dimension or self.dimension]).tolist()


def _handler(server: EmbeddingServer) -> type[BaseHTTPRequestHandler]:  # noqa: C901 (one request's way)
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.requests.append(body)
            server.headers.append(dict(self.headers))
            server.times.append(time.monotonic())
            with server._lock:
                server.at_once += 1
                server.most_at_once = max(server.most_at_once, server.at_once)
            try:
                self.answer(body, server.fault())
            except OSError:
                pass
            finally:
                server.at_once -= 1

        def answer(self, body: dict[str, Any], fault: Fault) -> None:
            time.sleep(fault.delay)
            with server._computing if server.seconds_a_text else contextlib.nullcontext():
                time.sleep(server.seconds_a_text * len(body["input"]))
            if fault.status != 200:
                extra = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                self.send(fault.status, json.dumps({"error": {"message": fault.said}}).encode(), extra)
                return
            if (refusal := self.refused(body)) is not None:
                self.send(*refusal)
                return
            answer = fault.body or json.dumps(self.made(body, fault)).encode()
            if fault.cut:
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer[: len(answer) // 2])
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
                return
            self.send(200, answer)

        def refused(self, body: dict[str, Any]) -> tuple[int, bytes] | None:
            if len(body["input"]) > server.most_texts:
                return 413, b'{"error": "batch size too large"}'
            if any(len(text) > server.most_characters for text in body["input"]):
                return 400, b'{"error": {"message": "maximum context length exceeded"}}'
            if server.refuses and any(re.search(server.refuses, text) for text in body["input"]):
                return 400, b'{"error": {"message": "no"}}'
            if "dimensions" in body and not server.takes_dimensions:
                return 400, b'{"error": {"message": "this model does not support dimensions (no matryoshka)"}}'
            return None

        def made(self, body: dict[str, Any], fault: Fault) -> dict[str, Any]:
            if server.behind:
                answer = httpx.post(f"{server.behind}/embeddings", json=body, timeout=120)
                return answer.raise_for_status().json()  # type: ignore[no-any-return]
            vectors = [
                server.vector(text, body.get("dimensions")) if fault.vector is None else fault.vector
                for text in body["input"]
            ]
            tokens = sum(len(text.split()) for text in body["input"])
            if self.path == "/api/embed":
                return {"embeddings": vectors, "prompt_eval_count": tokens}
            if body.get("encoding_format") == "base64":
                vectors = [base64.b64encode(np.asarray(each, dtype="<f4").tobytes()).decode() for each in vectors]
            data = [{"index": place, "embedding": each} for place, each in enumerate(vectors)]
            usage = {"usage": {"prompt_tokens": tokens, "total_tokens": tokens}} if server.counts_usage else {}
            return {"data": data[::-1], "model": body["model"], **usage}

        def send(self, status: int, body: bytes, extra: dict[str, str] | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (extra or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


@contextlib.contextmanager
def start_embedding_server(port: int = 0) -> Iterator[EmbeddingServer]:
    """Serve until the block ends; on a port of its own, or a given one."""
    server = EmbeddingServer()
    with listening(server, port):
        yield server


@contextlib.contextmanager
def listening(server: EmbeddingServer, port: int = 0) -> Iterator[None]:
    """Let a server listen until the block ends; it may listen again later."""
    http = ThreadingHTTPServer(("127.0.0.1", port or server.port), _handler(server))
    http.daemon_threads = True
    server.port = http.server_port
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
