"""A real Arize Phoenix for tests: nothing on disk but a folder that goes, nothing sent to the outside.

python = python_of("phoenix")  # installs it, the first time
with start_phoenix(python) as phoenix:
    ...  # something exports to phoenix.endpoint (HTTP) or phoenix.grpc_endpoint
    spans = phoenix.trace(trace_id, names={"POST /query"})
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
from support.otlp_records import outline

STARTING_SECONDS = 120.0
"""It takes 13 s on a machine of two cores that is not busy."""
ARRIVING_SECONDS = 30.0
PROGRAM = """
import os, sys, threading
from phoenix.server.main import main

def end_with_the_tests():
    sys.stdin.read()
    os._exit(0)

threading.Thread(target=end_with_the_tests, daemon=True).start()
sys.argv = ["phoenix", "serve"]
main()
"""
"""Phoenix, gone with the process that started it however that ended: its standard input closes then."""

QUIET = {
    "PHOENIX_TELEMETRY_ENABLED": "false",
    "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
    "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    "PHOENIX_ENABLE_MCP_SERVER": "false",
}


@dataclass(frozen=True)
class PhoenixSpan:
    """A span as Phoenix shows it.

    Attributes:
        kind: OpenInference's: LLM, EMBEDDING, RETRIEVER, RERANKER, CHAIN... or UNKNOWN. Phoenix tells it from
            ``gen_ai.operation.name`` where the span does not say ``openinference.span.kind``.
        status_code: UNSET, OK or ERROR.
        attributes: what was sent, and OpenInference's names for what it took from ``gen_ai.*``, with dots.
        start_ns: in microseconds' steps, as Phoenix keeps no more.

    """

    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: dict[str, Any]
    status_code: str
    start_ns: int
    end_ns: int


class Phoenix:
    """A Phoenix that runs.

    Attributes:
        url: of its pages and its API.

    """

    def __init__(self, *, port: int, grpc_port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._grpc_port = grpc_port

    @property
    def endpoint(self) -> str:
        """Base address for OTLP over HTTP; Phoenix takes traces only."""
        return self.url

    @property
    def grpc_endpoint(self) -> str:
        """Address for OTLP over gRPC, without TLS."""
        return f"http://127.0.0.1:{self._grpc_port}"

    def spans(self, trace_id: str, *, project: str = "default") -> list[PhoenixSpan]:
        """Return what has come of a trace, by start."""
        query = {"trace_id": trace_id, "limit": 1000}
        response = httpx.get(f"{self.url}/v1/projects/{project}/spans", params=query, timeout=ARRIVING_SECONDS)
        if response.status_code == httpx.codes.NOT_FOUND:  # a project comes with its first span
            return []
        return sorted(
            (_span(each) for each in response.raise_for_status().json()["data"]), key=lambda one: one.start_ns
        )

    def trace(self, trace_id: str, *, names: Collection[str], project: str = "default") -> list[PhoenixSpan]:
        """Wait until spans of these names have come; return what has come of the trace."""
        deadline = time.monotonic() + ARRIVING_SECONDS
        found = self.spans(trace_id, project=project)
        while missing := set(names) - {span.name for span in found}:
            assert time.monotonic() < deadline, f"{missing} did not come, but:\n" + "\n".join(outline(found))
            time.sleep(0.1)
            found = self.spans(trace_id, project=project)
        return found


@contextlib.contextmanager
def start_phoenix(python: str) -> Iterator[Phoenix]:
    """Run Phoenix while the context lasts."""
    folder = Path(tempfile.mkdtemp(prefix="footnote-phoenix-"))
    port, grpc_port = _free_ports(2)
    places = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(grpc_port),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_SQL_DATABASE_URL": "sqlite:///:memory:",
    }
    foreign = ("PHOENIX_", "OTEL_", "PYTHON")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(
            [python, "-c", PROGRAM],
            cwd=folder,
            env=clean | QUIET | places,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            phoenix = Phoenix(port=port, grpc_port=grpc_port)
            _wait(process, phoenix.url, folder / "log")
            yield phoenix
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _span(found: dict[str, Any]) -> PhoenixSpan:
    return PhoenixSpan(
        name=found["name"],
        kind=found["span_kind"],
        trace_id=found["context"]["trace_id"],
        span_id=found["context"]["span_id"],
        parent_id=found["parent_id"],
        attributes=found["attributes"],
        status_code=found["status_code"],
        start_ns=_nanoseconds(found["start_time"]),
        end_ns=_nanoseconds(found["end_time"]),
    )


def _nanoseconds(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1e6) * 1000


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as probes:
        return [probes.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count)]


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/readyz", timeout=5).is_success:
                return
        time.sleep(0.1)
    msg = f"Phoenix did not start: {log.read_text()[-2000:]}"
    raise RuntimeError(msg)
