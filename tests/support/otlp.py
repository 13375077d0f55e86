"""A real receiver of OTLP, over gRPC and HTTP, that keeps what it was sent.

with start_receiver() as receiver:
    ...  # something exports to receiver.grpc_url or receiver.http_url
    receiver.wait_for(lambda: receiver.spans(trace_id))
    assert receiver.tree(trace_id) == ["POST /query", "  footnote.query", "    embeddings small"]
    assert "secret" not in receiver.text
    receiver.refuse(503)  # or hang(), or close(): a collector in trouble
    receiver.recover()

What it reads is described in https://opentelemetry.io/docs/specs/otlp/.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

import grpc
from support.otlp_records import Log, Point, Span, outline, read_logs, read_points, read_spans

PATIENCE = 60.0
"""Seconds that something may take on a busy machine."""

Signal = Literal["traces", "metrics", "logs"]
PATHS: dict[str, Signal] = {"/v1/traces": "traces", "/v1/metrics": "metrics", "/v1/logs": "logs"}
SERVICES: dict[Signal, str] = {
    "traces": "opentelemetry.proto.collector.trace.v1.TraceService",
    "metrics": "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "logs": "opentelemetry.proto.collector.logs.v1.LogsService",
}
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.UNAVAILABLE,
}
"""What a refusal by an HTTP status is over gRPC."""
ACCEPTED = b""
"""Each signal's response without a partial success, in protobuf."""


@dataclass(frozen=True)
class Delivery:
    """A request as it came.

    Attributes:
        payload: in protobuf, uncompressed.
        status: what it was answered, as an HTTP status.

    """

    signal: Signal
    protocol: Literal["grpc", "http/protobuf"]
    headers: Mapping[str, str]
    payload: bytes
    status: int
    at: float = field(default_factory=time.monotonic)


class Receiver:
    """See `start_receiver`.

    Attributes:
        deliveries: every request, in order, those that were refused too.

    """

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self._changed = threading.Condition()
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._refusal: int | None = None
        self._http: _HTTPServer | None = None
        self._grpc: grpc.Server | None = None
        self._http_port = self._grpc_port = 0

    @property
    def http_url(self) -> str:
        """Base address for OTLP over HTTP, without ``/v1/traces``."""
        return f"http://127.0.0.1:{self._http_port}"

    @property
    def grpc_url(self) -> str:
        """Address for OTLP over gRPC, without TLS."""
        return f"http://127.0.0.1:{self._grpc_port}"

    @property
    def raw(self) -> list[bytes]:
        """Every payload that came, uncompressed, those that were refused too: they had left the exporter."""
        return [delivery.payload for delivery in tuple(self.deliveries)]

    @property
    def text(self) -> str:
        """All payloads as text: strings stand in protobuf as they are, so each can be looked for."""
        return b"\n".join(self.raw).decode("utf-8", errors="replace")

    def spans(self, trace_id: str | None = None, *, name: str | None = None) -> list[Span]:
        """Return the spans that were accepted, by their start."""
        spans = (span for payload in self._accepted("traces") for span in read_spans(payload))
        wanted = (span for span in spans if trace_id in {None, span.trace_id} and name in {None, span.name})
        return sorted(wanted, key=lambda span: span.start_ns)

    def span(self, name: str, *, trace_id: str | None = None) -> Span:
        """Return the one span of this name."""
        found = self.spans(trace_id, name=name)
        assert len(found) == 1, f"{len(found)} spans are named {name!r}:\n" + "\n".join(outline(self.spans(trace_id)))
        return found[0]

    def tree(self, trace_id: str) -> list[str]:
        """Return the outline of a trace."""
        return outline(self.spans(trace_id))

    def metrics(self) -> dict[str, list[Point]]:
        """Return the latest point for each name and set of labels, with all exemplars that came for it."""
        latest: dict[tuple[str, str, str], Point] = {}
        for payload in self._accepted("metrics"):
            for point in read_points(payload):
                key = (point.name, repr(sorted(point.attributes.items())), repr(sorted(point.resource.items())))
                earlier = latest[key].exemplars if key in latest else ()
                latest[key] = replace(point, exemplars=earlier + point.exemplars)  # a delivery brings only new ones
        named: dict[str, list[Point]] = {}
        for point in latest.values():
            named.setdefault(point.name, []).append(point)
        return named

    def points(self, name: str, labels: Mapping[str, object] | None = None) -> list[Point]:
        """Return the latest points of a metric that have these labels, among others."""
        wanted = (labels or {}).items()
        return [point for point in self.metrics().get(name, []) if wanted <= point.attributes.items()]

    def logs(self) -> list[Log]:
        """Return the log records that were accepted."""
        return [log for payload in self._accepted("logs") for log in read_logs(payload)]

    def forget(self) -> None:
        """Forget what came so far."""
        self.deliveries.clear()

    def wait_for(self, predicate: Callable[[], Any], timeout: float = PATIENCE) -> Any:
        """Wait until a predicate, looked at after each delivery, returns something; return that."""
        with self._changed:
            seen = self._changed.wait_for(predicate, timeout)
        assert seen, f"it did not come; {len(self.deliveries)} deliveries did:\n" + "\n".join(outline(self.spans()))
        return seen

    def refuse(self, status: int) -> None:
        """Answer with an HTTP status (one of `CODES`), over gRPC with the like of it, until `recover`."""
        assert status in CODES
        self._refusal = status

    def hang(self) -> None:
        """Accept requests and answer none, until `recover` or `close`."""
        self._open_gate.clear()

    def recover(self) -> None:
        """Work again; requests that hang are answered."""
        self._refusal = None
        self._open_gate.set()

    def open(self) -> None:
        """Listen; after `close`, at the same addresses."""
        self._http = _HTTPServer(("127.0.0.1", self._http_port), self._take)
        self._http_port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.05,), name="otlp-http", daemon=True).start()
        pool = ThreadPoolExecutor(8, thread_name_prefix="otlp-grpc")
        self._grpc = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        self._grpc.add_generic_rpc_handlers([self._service(signal) for signal in SERVICES])
        self._grpc_port = self._grpc.add_insecure_port(f"127.0.0.1:{self._grpc_port}")
        self._grpc.start()

    def close(self) -> None:
        """Be gone at once, with every connection; what came is kept."""
        if self._http is not None and self._grpc is not None:
            self._http.shutdown()
            self._http.server_close()
            stopped = self._grpc.stop(None)
            self._open_gate.set()
            stopped.wait(PATIENCE)
            self._http = self._grpc = None

    def _accepted(self, signal: Signal) -> list[bytes]:
        taken = tuple(self.deliveries)
        return [delivery.payload for delivery in taken if delivery.signal == signal and delivery.status == 200]

    def _take(
        self, signal: Signal, protocol: Literal["grpc", "http/protobuf"], headers: Mapping[str, str], payload: bytes
    ) -> int:
        """Keep a request; return the HTTP status for it, when it is time to."""
        status = self._refusal or 200
        with self._changed:
            self.deliveries.append(Delivery(signal, protocol, headers, payload, status))
            self._changed.notify_all()
        self._open_gate.wait()
        return status

    def _service(self, signal: Signal) -> grpc.GenericRpcHandler:
        """Return the service of a signal: without generated code, so that the payload stays as it came."""

        def export(payload: bytes, context: grpc.ServicerContext) -> bytes:
            headers = {key: str(value) for key, value in context.invocation_metadata()}
            status = self._take(signal, "grpc", headers, payload)
            if status != 200:
                context.abort(CODES[status], "refused")
            return ACCEPTED

        method = grpc.unary_unary_rpc_method_handler(export)
        return grpc.method_handlers_generic_handler(SERVICES[signal], {"Export": method})


class _HTTPServer(ThreadingHTTPServer):
    """Knows its connections, so that they can be cut."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], take: Callable[..., int]) -> None:
        super().__init__(address, _Handler)
        self.take = take
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        super().server_close()
        for connection in tuple(self._connections):
            with contextlib.suppress(OSError):  # it has just been closed
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that leaves, or is cut off, is what tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HTTPServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        signal = PATHS.get(self.path)
        if signal is None:
            self._answer(404)
        elif self.headers.get_content_type() != "application/x-protobuf":
            self._answer(415)
        else:
            headers = {name.lower(): value for name, value in self.headers.items()}
            payload = _plain(body, encoding=headers.get("content-encoding", "identity"))
            self._answer(self.server.take(signal, "http/protobuf", headers, payload))

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in http.server)
        """Print nothing."""


def _plain(body: bytes, *, encoding: str) -> bytes:
    decode = {"identity": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}
    return decode[encoding](body)


@contextlib.contextmanager
def start_receiver() -> Iterator[Receiver]:
    """Run a `Receiver` on free ports of 127.0.0.1 while the context lasts."""
    receiver = Receiver()
    receiver.open()
    try:
        yield receiver
    finally:
        receiver.close()
