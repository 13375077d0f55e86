"""Several processes that serve HTTP on the same sockets: started, started again where they die, replaced, stopped.

What exists once is the supervisor's: the listening sockets, the embedded PostgreSQL, the ingestion worker. Each worker
is ``python -m server worker``, with the settings of the supervisor but for what is shared out among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket

import structlog

from server.engines.models import die_with_parent
from server.peers.member import WorkersState, new_name, write_state

CANNOT_START = 2
SHORTEST_WAIT, MAX_WAIT = 0.25, 30.0
STEADY = 60.0
"""Seconds after which a start counts as gone well, and the next restart need not wait long."""

READY_SECONDS = 120.0

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class Process:
    """A worker's process.

    Attributes:
        number: place among the workers, from 1.
        is_ready: whether it serves.
        is_expected_to_end: nobody starts another one when it ends.

    """

    number: int
    child: asyncio.subprocess.Process
    started: float = field(default_factory=time.monotonic)
    is_ready: bool = False
    is_expected_to_end: bool = False
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.child.send_signal(number)


class CannotStart(Exception):
    """A worker ended before it served; it has said why."""


class Supervisor:
    """Keeps workers on the sockets.

    Args:
        sockets: bound, inherited by the workers.
        count: how many workers.
        environment: of the workers.
        folder: for their own sockets, see `server.peers`.
        patience: seconds for a worker that was told to stop, before it is killed.

    """

    def __init__(
        self,
        sockets: Sequence[socket],
        *,
        count: int,
        environment: Mapping[str, str],
        folder: Path,
        patience: float,
        command: Sequence[str] = (sys.executable, "-m", "server", "worker"),
    ) -> None:
        self._sockets = sockets
        self._count = count
        self._environment = dict(environment)
        self._folder = folder
        self._patience = patience
        self._command = tuple(command)
        self._processes: set[Process] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits: dict[int, float] = {}
        self._is_stopping = False
        self._reloading = asyncio.Lock()

    @property
    def processes(self) -> list[Process]:
        """The workers that run, by number; those that are being replaced included."""
        return sorted(self._processes, key=lambda process: (process.number, process.started))

    async def start(self) -> None:
        """Start the workers; return when all of them serve.

        Raises:
            CannotStart: one of them does not.

        """
        starting = [await self._begun(number) for number in range(1, self._count + 1)]
        for process in starting:
            await self._wait_until_ready(process)
            process.is_expected_to_end = False
        self._tell_state()

    async def reload(self) -> None:
        """Replace the workers one by one: a new one serves before the old one takes no more connections."""
        async with self._reloading:
            for number in range(1, self._count + 1):
                old = [each for each in self._processes if each.number == number and not each.is_expected_to_end]
                new = await self._begun(number)
                try:
                    await self._wait_until_ready(new)
                except CannotStart as exc:
                    _log.error("nothing was reloaded: the new worker does not start", number=number, error=str(exc))
                    new.tell(signal.SIGTERM)
                    return
                new.is_expected_to_end = False
                for each in old:
                    each.is_expected_to_end = True
                    each.tell(signal.SIGUSR1)
                self._tell_state()
            _log.info("reloaded", workers=self._count)

    async def stop(self) -> None:
        """End every worker; each has its time to finish what it answers."""
        self._is_stopping = True
        for process in self._processes:
            process.is_expected_to_end = True
            process.tell(signal.SIGTERM)
        for task in self._tasks:
            if not task.get_name().startswith("watch"):
                task.cancel()
        waiting = [asyncio.create_task(process.child.wait()) for process in self._processes]
        if waiting and (await asyncio.wait(waiting, timeout=self._patience))[1]:
            _log.warning("workers do not stop, and are killed")
            for process in self._processes:
                process.tell(signal.SIGKILL)
        if waiting:
            await asyncio.wait(waiting)

    def hurry(self) -> None:
        """Let the workers end at once."""
        for process in self._processes:
            process.tell(signal.SIGTERM)

    async def _begun(self, number: int) -> Process:
        """Start a process; it counts as one of the workers when it is no longer expected to end."""
        if self._is_stopping:
            raise asyncio.CancelledError
        told, tells = os.pipe()
        shared = [sock.fileno() for sock in self._sockets]
        arguments = [
            *("--fds", ",".join(map(str, shared)), "--ready", str(tells), "--name", new_name()),
            *("--number", str(number), "--of", str(self._count), "--folder", str(self._folder)),
        ]
        parent_first = die_with_parent.command(signal.SIGTERM) if sys.platform == "linux" else ()
        try:
            child = await asyncio.create_subprocess_exec(
                *parent_first,
                *self._command,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                env=self._environment,
                pass_fds=[*shared, tells],
                start_new_session=True,  # Ctrl-C is for us
            )
        finally:
            os.close(tells)
        process = Process(number, child, is_expected_to_end=True)
        self._processes.add(process)
        asyncio.get_running_loop().add_reader(told, self._heard, told, process)
        self._run(self._watch(process), name=f"watch worker {number}")
        return process

    def _heard(self, told: int, process: Process) -> None:
        asyncio.get_running_loop().remove_reader(told)
        process.is_ready = bool(os.read(told, 1))
        os.close(told)
        process.changed.set()

    async def _wait_until_ready(self, process: Process) -> None:
        try:
            await asyncio.wait_for(process.changed.wait(), READY_SECONDS)
        except TimeoutError:
            process.tell(signal.SIGKILL)
        if not process.is_ready:
            msg = f"worker {process.number} ended with status {await process.child.wait()}"
            raise CannotStart(msg)

    async def _watch(self, process: Process) -> None:
        """Wait for the end of a process; start another one if it came by itself."""
        status = await process.child.wait()
        self._processes.discard(process)
        self._tell_state()
        if process.is_expected_to_end:
            return
        number = process.number
        while not self._is_stopping:
            is_steady = time.monotonic() - process.started > STEADY
            wait = SHORTEST_WAIT if is_steady else min(2 * self._waits.get(number, SHORTEST_WAIT / 2), MAX_WAIT)
            self._waits[number] = wait
            _log.warning("a worker died", number=number, status=status, restart_in_s=wait)
            await asyncio.sleep(wait)
            process = await self._begun(number)
            try:
                await self._wait_until_ready(process)
            except CannotStart:
                status = process.child.returncode or 0
                continue
            process.is_expected_to_end = False
            self._tell_state()
            return

    def _run(self, work: object, *, name: str) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell_state(self) -> None:
        answering = {process.number for process in self._processes if process.is_ready}
        write_state(self._folder, WorkersState(len(answering), self._count))
