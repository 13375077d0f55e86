"""Python programs as processes of their own, which need not import anything: they are forks of one that has.

An interpreter that imports what the server imports takes seconds of CPU, and the suite starts more than a hundred. What
such a program does from its first line on, its pipes, signals, exit code and children, are those of ``python``. Tests
of what a program imports, and of the commands as a newcomer types them, start an `interpreter`.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UNSET = -1
"""What `subprocess` calls a stream that nobody asked for."""


class Program(subprocess.Popen[str]):
    """``python ARGUMENTS…``: ``-m NAME``, ``-c CODE`` or a file, and what follows them; else a `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: str | Path = ROOT,
        env: Mapping[str, str] | None = None,
        **streams: Any,
    ) -> None:
        self._server: socket.socket | None = None
        super().__init__(
            [str(each) for each in arguments], cwd=cwd, env=env if env is not None else os.environ, text=True, **streams
        )

    def _execute_child(self, args: list[str], *details: Any) -> None:  # type: ignore[override]
        cwd, env, pipes = details[4], details[5], details[9:15]
        stdin, outputs = pipes[0], (pipes[3], pipes[5])
        request = {"arguments": args, "directory": str(cwd), "environment": dict(env)}
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._server.connect(_start_fork_server())
        with Path(os.devnull).open("rb") as nothing:
            given = [nothing.fileno() if stdin == UNSET else stdin, *(2 if each == UNSET else each for each in outputs)]
            socket.send_fds(self._server, [json.dumps(request).encode()], given)
        self.pid = int(self._server.recv(64))
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, _deadstate: int | None = None, **_: Any) -> int | None:
        if self.returncode is None and self._child_created and self._waitpid_lock.acquire(blocking=False):
            try:
                pid, status = self._try_wait(os.WNOHANG)
                if pid == self.pid and self.returncode is None:
                    self._handle_exitstatus(status)
            finally:
                self._waitpid_lock.release()
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        assert self._server
        if wait_flags & os.WNOHANG and not select.select([self._server], [], [], 0)[0]:
            return 0, 0
        status = int(self._server.recv(64) or signal.SIGKILL)  # nothing: the fork server is gone, and its forks with it
        self._server.close()
        return self.pid, status


def interpreter(arguments: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
    """Start ``python ARGUMENTS…`` itself."""
    return subprocess.Popen([sys.executable, *arguments], text=True, **options)


def run(
    arguments: Sequence[str | Path],
    *,
    cwd: str | Path = ROOT,
    env: Mapping[str, str] | None = None,
    timeout: float = 240,
    check: bool = False,
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, as `subprocess.run` does."""
    pipe = subprocess.PIPE
    with Program(arguments, cwd=cwd, env=env, stdout=pipe, stderr=pipe) as program:
        try:
            out, err = program.communicate(timeout=timeout)
        except BaseException:
            program.kill()
            raise
    done = subprocess.CompletedProcess(program.args, program.returncode, out, err)
    if check:
        done.check_returncode()
    return done


@functools.cache
def _start_fork_server() -> str:
    """Start the server that forks for this process; return the path of its socket. It ends with this process."""
    folder = tempfile.mkdtemp(prefix="footnote-fork-")
    path = f"{folder}/socket"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("fork_server.py")), path],
        cwd=ROOT,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    assert server.stdin
    assert server.stdout
    atexit.register(server.stdin.close)
    assert server.stdout.readline() == "ready\n"
    return path
