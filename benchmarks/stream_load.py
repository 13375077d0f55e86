"""A cheap client that reads many streams: ``python -m benchmarks.stream_load``, a `Workload` as JSON on stdin.

It runs in a process of its own, and knows no more of HTTP than the benchmark needs. The tokens are those of
`benchmarks.paced_model`: each tells when it was sent, by the clock that this process reads too. Prints an `Outcome`.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import cast
from urllib.parse import SplitResult, urlsplit

import psutil

PATIENCE = 120.0  # seconds for one stream
SETTLE = 2.0  # seconds between the last opening and the measuring
STAMP = re.compile(rb'" (\d+\.\d{6})"')
TIMINGS = re.compile(rb'"timings_ms":\s?(\{[^}]*\})')
MAX_STAMP_LENGTH = 32
OK = b"HTTP/1.1 200"
END = b"data: [DONE]"
FAILED = (b"event: error", b'data: {"error"')


@dataclass(frozen=True)
class Workload:
    """What to open, and what to measure.

    Attributes:
        ramp: seconds in which the streams are opened, one after the other; 0: all at once.
        seconds: to measure, from a little after the last opening on.
        again: whether a stream that ends within that time is followed by another one.
        pid: of the server, whose processes' CPU time and memory are measured.

    """

    url: str
    questions: Sequence[str]
    streams: int
    ramp: float = 0
    seconds: float = 0
    again: bool = False
    pid: int | None = None


@dataclass
class First:
    """A stream's first token; milliseconds.

    Attributes:
        asking: from the request to the moment the model sent it.
        coming: from there to us.
        retrieval: what the server says that it spent on finding passages, and on making the message a question.

    """

    asking: float
    coming: float
    retrieval: float = 0.0


@dataclass
class Outcome:
    """What came of it; milliseconds.

    Attributes:
        firsts: of the streams that began while it was measured (of all, where they are opened at once).
        delays: how long tokens were on their way.
        gaps: by how much the pause before a token was longer here than at the model (shorter: 0).
        cpu: seconds of the server's processors, for `tokens`.

    """

    ended: int = 0
    failures: list[str] = field(default_factory=list)
    firsts: list[First] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    tokens: int = 0
    cpu: float = 0.0
    seconds: float = 0.0


class Stream(asyncio.Protocol):
    """Reads one answer."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self._blocks: list[bytes] = []
        self.asked = 0.0
        self.sent: list[float] = []
        self.came: list[float] = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self.asked = time.monotonic()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note the tokens."""
        now = time.monotonic()
        self._blocks.append(data)
        text, end = self._rest + data, 0
        for stamp in STAMP.finditer(text):
            self.sent.append(float(stamp.group(1)))
            self.came.append(now)
            end = stamp.end()
        self._rest = text[max(end, len(text) - MAX_STAMP_LENGTH) :]
        if END in text or not self._blocks[0].startswith(OK):  # what is no stream came whole
            self._transport.close()
            self._end()

    def connection_lost(self, _: Exception | None) -> None:
        """Take note of an end without the mark."""
        self._end()

    @property
    def failure(self) -> str | None:
        """What went wrong, if anything did."""
        said = b"".join(self._blocks)
        if said.startswith(OK) and END in said and self.sent and not any(mark in said for mark in FAILED):
            return None
        return (said.partition(b"\r\n")[0] + said[-200:]).decode(errors="replace") or "nothing came"

    @property
    def first(self) -> First:
        """How the first token came."""
        asking, coming = self.sent[0] - self.asked, self.came[0] - self.sent[0]
        found = TIMINGS.search(b"".join(self._blocks[-4:]))
        timings = json.loads(found.group(1)) if found else {}
        retrieval = sum(ms for name, ms in timings.items() if name not in {"generate", "total"})
        return First(asking * 1000, coming * 1000, retrieval)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


class Load:
    """Puts a workload on a server."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._url = urlsplit(workload.url)
        self._host, self._port = self._url.hostname or "", self._url.port or 80
        self._questions = cycle(workload.questions)
        self._streams: list[Stream] = []
        self._failures: list[str] = []
        self._servers = processes(workload.pid) if workload.pid else []

    async def run(self) -> Outcome:
        """Open, measure, wait until all have ended."""
        workload, started = self._workload, time.monotonic()
        self._begin = started + (workload.ramp + SETTLE if workload.ramp else 0)
        self._until = self._begin + workload.seconds
        async with asyncio.TaskGroup() as group:
            for number in range(workload.streams):
                group.create_task(self._reader(started + workload.ramp * number / workload.streams))
            cpu = await self._cpu()
        return self._outcome(cpu, time.monotonic() - started)

    async def _reader(self, at: float) -> None:
        await asyncio.sleep(at - time.monotonic())
        await self._read()
        while self._workload.again and time.monotonic() < self._until:
            await self._read()

    async def _read(self) -> None:
        request = request_of(self._url, next(self._questions))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                _, stream = await loop.create_connection(lambda: Stream(request), self._host, self._port)
                self._streams.append(stream)
                await stream.ended
        except (OSError, TimeoutError) as exc:
            self._failures.append(type(exc).__name__)

    async def _cpu(self) -> float:
        if not self._servers or not self._workload.seconds:
            return 0.0
        await asyncio.sleep(self._begin - time.monotonic())
        before = self._used()
        await asyncio.sleep(self._until - time.monotonic())
        return self._used() - before

    def _used(self) -> float:
        return sum(times.user + times.system for times in (each.cpu_times() for each in self._servers))

    def _outcome(self, cpu: float, seconds: float) -> Outcome:
        failures = [stream.failure for stream in self._streams]
        good = [stream for stream, failure in zip(self._streams, failures, strict=True) if failure is None]
        outcome = Outcome(len(good), self._failures + [failure for failure in failures if failure], cpu=cpu)
        outcome.seconds = seconds
        for stream in good:
            if not self._workload.seconds or self._begin <= stream.asked < self._until:
                outcome.firsts.append(stream.first)
            for delay, gap in self._measured(stream):
                outcome.tokens += 1
                outcome.delays.append(round(delay * 1000, 3))
                outcome.gaps.append(round(max(0.0, gap) * 1000, 3))
        return outcome

    def _measured(self, stream: Stream) -> Iterator[tuple[float, float]]:
        before = 0.0
        for number, (sent, came) in enumerate(zip(stream.sent, stream.came, strict=True)):
            delay = came - sent
            if number and (not self._workload.seconds or self._begin <= came < self._until):
                yield delay, delay - before
            before = delay


def processes(pid: int) -> list[psutil.Process]:
    """Return a server's process and those that it started, but for PostgreSQL's."""
    server = psutil.Process(pid)
    return [each for each in [server, *server.children(recursive=True)] if not each.name().startswith("postgres")]


def request_of(url: SplitResult, question: str) -> bytes:
    """Return the bytes of a request for a streamed answer, in the words of the address it goes to."""
    asked: dict[str, object] = {"message" if "/chat/stream" in url.path else "question": question}
    if url.path.endswith("/completions"):
        messages = [{"role": "user", "content": question}]
        asked = {"model": "footnote/default", "messages": messages, "stream": True}
    body = json.dumps(asked).encode()
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as program:
        print(json.dumps(asdict(program.run(Load(Workload(**json.load(sys.stdin))).run()))))
