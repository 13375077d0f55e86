"""llama.cpp's ``llama-server`` as a child process: started, watched, restarted, stopped."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import structlog

from config import die_with_parent
from config.machine import cores
from server.engines.models.errors import ModelUnavailable

SLOTS = 2
"""Number of concurrent answers; more are queued."""

START_TIMEOUT = 60.0
HEALTH_TIMEOUT = 2.0
STOP_TIMEOUT = 5.0
POLL = 0.05
SHORTEST_WAIT, MAX_WAIT = 0.25, 30.0
STEADY = 60.0
"""Seconds after which a start counts as successful, so that the next restart is not delayed for long."""

MAX_LOG_BYTES = 5_000_000

_log = structlog.get_logger(__name__)


class LlamaServer:
    """A supervised ``llama-server`` on 127.0.0.1, protected by a random key that other users of the machine cannot see.

    ``model`` returns the GGUF file; it is called before each start, and may be slow. `start` returns at once;
    `ready` waits. A process that dies is started again, after a pause that doubles up to `MAX_WAIT` seconds. It
    ends with this process: at `close`, or by the kernel if this process is killed. ``key`` is its bearer token.
    ``on_change`` is called when it begins or ceases to answer.
    """

    def __init__(self, program: Path, *, model: Callable[[], Awaitable[Path]], context_window: int, log: Path) -> None:
        self._program = program
        self._model = model
        self._context_window = context_window
        self._log_file = log
        self.key = secrets.token_urlsafe(24)
        self._up = asyncio.Event()
        self._state = "the local model is starting"
        self._watch: asyncio.Task[None] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._url = ""
        self.on_change: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        """Its address, which changes with each start; empty before the first one."""
        return self._url

    @property
    def pid(self) -> int | None:
        """Process id, where there is a process."""
        return self._process.pid if self._process else None

    @property
    def state(self) -> str | None:
        """Why the server cannot answer now, or None if it can."""
        return None if self._up.is_set() else self._state

    def start(self) -> None:
        """Start the process and its supervision in the background; call it once, within a running event loop."""
        self._watch = asyncio.create_task(self._supervise(), name="llama-server")

    async def ready(self, *, timeout: float | None) -> str:  # noqa: ASYNC109 (one wait, not a scope)
        """Wait until the server answers; return its address, which changes with each start.

        Raises:
            ModelUnavailable: it does not within ``timeout`` seconds; None: wait for ever.

        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._up.wait(), timeout)
        if not self._up.is_set():
            raise ModelUnavailable(self._state)
        return self._url

    async def close(self) -> None:
        """End the process."""
        if self._watch:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    async def _supervise(self) -> None:
        wait = SHORTEST_WAIT
        while True:
            started = time.monotonic()
            try:
                await self._run()
            except (OSError, ValueError) as exc:  # no room, no such file; a damaged model
                self._state = f"the local model cannot be started: {exc}"
            self.on_change()
            wait = SHORTEST_WAIT if time.monotonic() - started > STEADY else min(2 * wait, MAX_WAIT)
            _log.warning("local_model_died", reason=self._state, log=str(self._log_file), restart_in_s=wait)
            await asyncio.sleep(wait)

    async def _run(self) -> None:
        """Run the process until it ends."""
        model = await self._model()
        started = time.monotonic()
        port = _free_port()
        process = self._process = await self._spawn(self._flags(model, port))
        try:
            self._url = f"http://127.0.0.1:{port}/v1"
            if await self._healthy(f"{self._url}/health", process):
                self._up.set()
                self.on_change()
                _log.info("local_model_ready", pid=process.pid, port=port, seconds=round(time.monotonic() - started, 2))
                code = await process.wait()
                self._state = f"the local model ended with status {code} and is starting again"
        finally:
            self._up.clear()
            await _end(process)
            self._process = None

    async def _healthy(self, url: str, process: asyncio.subprocess.Process) -> bool:
        """Wait until the server is healthy; False if the process ends or takes too long."""
        until = time.monotonic() + START_TIMEOUT
        async with httpx.AsyncClient(trust_env=False, timeout=HEALTH_TIMEOUT) as client:
            while time.monotonic() < until:
                if process.returncode is not None:
                    self._state = f"the local model does not start (status {process.returncode}); its log says why"
                    return False
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(url)).status_code == httpx.codes.OK:
                        return True
                await asyncio.sleep(POLL)
        self._state = f"the local model did not start within {START_TIMEOUT:g} seconds"
        return False

    async def _spawn(self, flags: list[str]) -> asyncio.subprocess.Process:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self._log_file.stat().st_size > MAX_LOG_BYTES:
                self._log_file.replace(self._log_file.with_suffix(".log.1"))
        with self._log_file.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                # not SIGTERM: it has nothing to finish, and has been seen to live on after one
                *die_with_parent.command(signal.SIGKILL),
                *(str(self._program), *flags),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # a clean environment: LLAMA_* and proxies would change what it does, and it needs no secrets
                env={"PATH": os.defpath, "LLAMA_API_KEY": self.key},
                start_new_session=True,  # Ctrl-C is for us; we end it when the answers are written
            )

    def _flags(self, model: Path, port: int) -> list[str]:
        return [
            *("--model", str(model)),
            *("--alias", model.stem),  # or it names itself by the file's path
            *("--host", "127.0.0.1"),
            *("--port", str(port)),
            *("--ctx-size", str(self._context_window * SLOTS)),  # it is divided among the slots
            *("--parallel", str(SLOTS)),
            *("--threads", str(cores())),
            *("--device", "none"),  # no GPU is looked for: starts twice as fast
            *("--cache-ram", "0"),  # its default keeps up to 8 GiB of old prompts; a slot keeps its last one anyway
            "--offline",
            "--no-ui",
            "--no-slots",  # would show prompts
        ]


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(asyncio.shield(process.wait()), STOP_TIMEOUT)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
