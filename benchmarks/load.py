"""A cheap HTTP client with many connections: ``python -m benchmarks.load URL CLIENTS SECONDS [JSON [KEY]]``.

The questions are on stdin, one a line; JSON is what each request's body holds besides.

It runs in a process of its own, and knows no more of HTTP than the benchmark needs. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import cycle
from urllib.parse import SplitResult, urlsplit

PATIENCE = 120.0  # seconds for one answer
OK = b"HTTP/1.1 200"


@dataclass
class Outcome:
    """What came of a run: milliseconds of each answer that was right, the other status lines, seconds in all."""

    latencies: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


async def main(url: str, clients: int, seconds: float, rest: str = "{}", key: str = "") -> Outcome:
    """Ask with `clients` connections at once until the time is up; wait for what is under way."""
    besides, outcome = json.loads(rest), Outcome()
    asked = cycle([json.dumps({"question": line, **besides}).encode() for line in sys.stdin.read().splitlines()])
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(_client(urlsplit(url), asked, outcome, seconds=seconds, key=key))
    outcome.seconds = time.perf_counter() - started
    return outcome


async def _client(url: SplitResult, asked: Iterator[bytes], outcome: Outcome, *, seconds: float, key: str) -> None:
    host, port, path = url.hostname or "", url.port or 80, url.path
    until = time.perf_counter() + seconds
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 22)
    while (started := time.perf_counter()) < until:
        body = next(asked)
        head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        if key:
            head += f"\r\nAuthorization: Bearer {key}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        try:
            async with asyncio.timeout(PATIENCE):
                status = await _answer(reader)
        except (OSError, asyncio.IncompleteReadError, TimeoutError) as exc:
            outcome.failures.append(type(exc).__name__)
            writer.close()
            reader, writer = await asyncio.open_connection(host, port, limit=1 << 22)
            continue
        if status.startswith(OK):
            outcome.latencies.append((time.perf_counter() - started) * 1000)
        else:
            outcome.failures.append(status.decode())
    writer.close()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    await reader.readexactly(length)
    return head.partition(b"\r\n")[0].upper()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(asdict(runner.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])))))
