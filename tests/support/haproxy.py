"""HAProxy before servers on this machine, as docs/operations/proxies.md configures it."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.nginx import free_port

PAGE = Path(__file__).parents[2] / "docs/operations/proxies.md"
BINARY = shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
STARTING_SECONDS = 10.0
CHECK_SECONDS = 2.0
"""Between two checks of the page's configuration."""


@dataclass(frozen=True)
class Haproxy:
    """A proxy that runs."""

    url: str
    log: Path

    def errors(self) -> str:
        """Return what it complained of."""
        return self.log.read_text()

    def wait_for_all(self) -> None:
        """Wait until its checks have seen again whatever they had missed."""
        deadline = time.monotonic() + STARTING_SECONDS
        time.sleep(CHECK_SECONDS)
        while (said := self.errors()).count(" is DOWN") > said.count(" is UP"):
            assert time.monotonic() < deadline, said
            time.sleep(0.1)


@contextlib.contextmanager
def start_haproxy(ports: Sequence[int], *, folder: Path) -> Iterator[Haproxy]:
    """Run it with the page's configuration, for these ports in place of the page's servers."""
    assert BINARY is not None
    port, log = free_port(), folder / "haproxy.log"
    (configuration,) = re.findall(r"```haproxy\n(.*?)```", PAGE.read_text(), re.DOTALL)
    configuration = configuration.replace("bind :80", f"bind 127.0.0.1:{port}")
    for number, each in enumerate(ports, 1):
        configuration = configuration.replace(f"10.0.0.{number}:8000", f"127.0.0.1:{each}")
    (folder / "haproxy.cfg").write_text(configuration)
    with log.open("w") as out:
        process = subprocess.Popen([BINARY, "-db", "-f", str(folder / "haproxy.cfg")], stdout=out, stderr=out)
    try:
        _wait(process, port, log)
        yield Haproxy(f"http://127.0.0.1:{port}", log)
    finally:
        process.terminate()
        process.wait(10)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    msg = f"HAProxy did not start: {log.read_text()[-500:]}"
    raise RuntimeError(msg)
