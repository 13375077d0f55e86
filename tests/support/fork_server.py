"""A process that has imported what Footnote's programs import, and forks: ``python fork_server.py SOCKET``.

Each message on the socket asks for one program; see `support.programs`, which writes them. Its first answer is the
program's process id, the second what ``waitpid`` told at its end.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import types
from contextlib import suppress
from pathlib import Path
from typing import Any

MAX_REQUEST = 1 << 20
IMPORTED = (
    "embedding.opening",
    "evaluation",
    "ingestion.cli.command",
    "ingestion.cli.progress",
    "ingestion.jobs.handlers",
    "ingestion.jobs.worker",
    "ingestion.pipeline.factory",
    "server.api.listener",
    "server.app",
    "server.runtime",
    "storage.local",
    "tokenizers",
    "uvloop",
)
"""None of them starts a thread, and none that a test wants to see unloaded."""


def main(path: str) -> None:
    """Fork programs until the socket's owner is gone; in such a program, be it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for pytest
    os.environ["OTEL_PROPAGATORS"] = "tracecontext"  # as the programs do before they import OpenTelemetry
    for name in IMPORTED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    print("ready", flush=True)  # noqa: T201 (tells who started it)
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
        program = _serve(selector, listener)
    listener.close()
    if program is not None:
        _become(**program)


def _serve(selector: selectors.BaseSelector, listener: socket.socket) -> dict[str, Any] | None:
    """Fork a process for each request; in it, return the request; else return None at the end."""
    while True:
        for ready, _ in selector.select():
            if ready.fileobj is listener:
                connection, _ = listener.accept()
                request, descriptors, *_ = socket.recv_fds(connection, MAX_REQUEST, 3)
                pid = os.fork()
                if pid == 0:
                    return json.loads(request) | {"descriptors": descriptors}
                for descriptor in descriptors:
                    os.close(descriptor)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, connection))
                _tell(connection, pid)
            elif ready.data is None:  # the end of stdin
                return None
            else:
                pid, connection = ready.data
                selector.unregister(ready.fd)
                os.close(ready.fd)
                _tell(connection, os.waitpid(pid, 0)[1])
                connection.close()


def _tell(connection: socket.socket, number: int) -> None:
    with suppress(OSError):  # nobody asks any longer
        connection.send(str(number).encode())


def _become(*, arguments: list[str], directory: str, environment: dict[str, str], descriptors: list[int]) -> None:
    """Be what ``python ARGUMENTS…`` would be; no object holds a descriptor from before the fork."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(3, 1 << 16)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    kind, *rest = arguments
    first = str(Path(kind).parent) if not kind.startswith("-") else directory if kind == "-m" else ""
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [first, *paths, *(path for path in sys.path[1:] if path not in paths)]
    if kind == "-m":
        name, *sys.argv[1:] = rest
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        code, *sys.argv[1:] = rest
        sys.argv[0] = "-c"
        made = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(made))  # noqa: S102 (a test's own program)
    else:
        sys.argv[:] = arguments
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1])
