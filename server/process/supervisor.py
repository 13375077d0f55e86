"""Several processes that serve HTTP on the same sockets: started, started again where they die, replaced, stopped.

What exists once is the supervisor's: the listening sockets, the embedded PostgreSQL, the ingestion worker. Each worker
is ``python -m server worker``, with the settings of the supervisor but for what is shared out among them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from socket import socket
from typing import Any

import structlog

from config import die_with_parent
from server.api.accepting import close_lent
from server.peers.member import WorkersState, address_of, new_name, write_state
from server.process.to_supervisor import BEAT_SECONDS, first_word

CANNOT_START = 2
SHORTEST_WAIT, MAX_WAIT = 0.25, 30.0
FIRST_WORD_SECONDS = 5.0
STEADY = 60.0
"""Seconds after which a start counts as gone well, and the next restart need not wait long."""

READY_SECONDS = 600.0
"""In which a worker has to serve; a first start may download or export a model."""

_log = structlog.get_logger(__name__)


class State(Enum):
    """Of a worker."""

    STARTING = auto()
    SERVING = auto()
    LEAVING = auto()
    """It was told to end, and nobody starts another one when it does."""


@dataclass(eq=False, slots=True)
class Process:
    """A worker's process; `number` is its place among the workers, from 1, and `name` that of its own socket."""

    number: int
    name: str
    child: asyncio.subprocess.Process
    started: float = field(default_factory=time.monotonic)
    state: State = State.STARTING
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when it serves, or will not."""

    reason: str = ""
    """Why it does not serve, as far as it said so."""

    silent: int | None = None
    """Beats that the worker has missed; None: it does not beat."""

    def tell(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            self.child.send_signal(number)


class CannotStart(Exception):
    """A worker does not serve; the message says why, as far as it is known."""


class Supervisor:
    """Keeps workers on the sockets.

    Args:
        sockets: bound, inherited by the workers; closed by `stop`.
        count: how many workers.
        environment: of the workers.
        folder: for their own sockets, see `server.peers`.
        drain_delay: seconds for which workers that were told to stop accept on.
        patience: seconds that they have after that, before they are killed.
        hang_timeout: seconds for which the event loop of a worker may stand still before it is killed; 0: for ever.

    """

    def __init__(
        self,
        sockets: Sequence[socket],
        *,
        count: int,
        environment: Mapping[str, str],
        folder: Path,
        patience: float,
        drain_delay: float = 0,
        hang_timeout: float = 0,
        command: Sequence[str] = (sys.executable, "-m", "server", "worker"),
    ) -> None:
        self._sockets = sockets
        self._count = count
        self._environment = dict(environment)
        self._folder = folder
        self._patience = patience
        self._drain_delay = drain_delay
        self._hang_timeout = hang_timeout
        self._command = tuple(command)
        self._processes: set[Process] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._waits: dict[int, float] = {}
        self._is_stopping = False
        self._reloading = asyncio.Lock()
        self._reload_waits = False

    @property
    def processes(self) -> list[Process]:
        """The workers that run, by number; those that are being replaced included."""
        return sorted(self._processes, key=lambda process: (process.number, process.started))

    async def start(self) -> None:
        """Start the workers; return when all of them serve.

        Raises:
            CannotStart: one of them does not.

        """
        if self._hang_timeout:
            self._run(self._watch_beats(), name="watch beats")
        for process in [await self._begun(number) for number in range(1, self._count + 1)]:
            await self._wait_until_ready(process)

    async def reload(self) -> None:
        """Replace the workers one by one: a new one serves before the old one takes no more connections.

        While a reload waits for another one to end, further ones are the same as that one.
        """
        if self._reload_waits:
            return
        self._reload_waits = True
        async with self._reloading:
            self._reload_waits = False
            for number in range(1, self._count + 1):
                try:
                    await self._wait_until_ready(await self._begun(number))
                except CannotStart as exc:
                    _log.error("the reload ends: the new worker does not start", number=number, error=str(exc))
                    return
            _log.info("reloaded", workers=self._count)

    async def stop(self) -> None:
        """End every worker; each has its time to finish what it answers.

        They accept on for `drain_delay` seconds, at the end of which the port is closed here, for all of them.
        """
        self._is_stopping = True
        for process in self._processes:
            self._end(process, signal.SIGTERM)
        for task in self._tasks:
            if not task.get_name().startswith("watch worker"):
                task.cancel()
        waiting = [asyncio.create_task(process.child.wait()) for process in self._processes]
        if waiting:
            await asyncio.wait(waiting, timeout=self._drain_delay)
        for sock in self._sockets:
            close_lent(sock)
            sock.close()
        if waiting and (await asyncio.wait(waiting, timeout=self._patience))[1]:
            _log.warning("workers do not stop, and are killed")
            for process in self._processes:
                process.tell(signal.SIGKILL)
        if waiting:
            await asyncio.wait(waiting)

    def hurry(self) -> None:
        """Let the workers, which are ending, end at once."""
        for process in self._processes:
            process.tell(signal.SIGINT)

    def _end(self, process: Process, number: int) -> None:
        process.state = State.LEAVING
        process.tell(number)
        self._tell_state()

    async def _begun(self, number: int) -> Process:
        """Start a process.

        Raises:
            CannotStart: the system has no room for one more.

        """
        if self._is_stopping:
            raise asyncio.CancelledError
        try:
            told, tells = os.pipe()
        except OSError as exc:
            raise CannotStart(_no_room(number, exc)) from exc
        name = new_name()
        shared = [sock.fileno() for sock in self._sockets]
        arguments = [
            *("--fds", ",".join(map(str, shared)), "--pipe", str(tells), "--name", name),
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
        except OSError as exc:
            os.close(told)
            raise CannotStart(_no_room(number, exc)) from exc
        finally:
            os.close(tells)
        process = Process(number, name, child)
        self._processes.add(process)
        asyncio.get_running_loop().add_reader(told, self._heard, told, process)
        self._run(self._watch(process), name=f"watch worker {number}")
        return process

    def _heard(self, told: int, process: Process) -> None:
        said = os.read(told, select.PIPE_BUF)
        if not said:  # it ended, or says no more
            asyncio.get_running_loop().remove_reader(told)
            os.close(told)
        process.silent = 0 if said else None
        if not process.settled.is_set():
            self._settle(process, said)

    def _settle(self, process: Process, said: bytes) -> None:
        is_ready, process.reason = first_word(said)
        if is_ready and process.state is State.STARTING:
            process.state = State.SERVING
            self._retire_surplus(process.number)
        process.settled.set()
        self._tell_state()

    def _retire_surplus(self, number: int) -> None:
        """Leave one worker of a number, whoever started it: the newest that serves, and those that are newer still.

        A reload and the restart of one that died may overlap, and each start a worker.
        """
        stay = max(self._of(number, State.SERVING), key=lambda process: process.started, default=None)
        if stay is None:
            return
        for process in self._of(number, State.SERVING, State.STARTING):
            if process.started < stay.started:
                self._end(process, signal.SIGUSR1 if process.state is State.SERVING else signal.SIGTERM)

    def _of(self, number: int, *states: State) -> list[Process]:
        return [process for process in self.processes if process.number == number and process.state in states]

    async def _wait_until_ready(self, process: Process) -> None:
        try:
            await asyncio.wait_for(process.settled.wait(), READY_SECONDS)
        except TimeoutError:
            self._end(process, signal.SIGKILL)
            msg = f"worker {process.number} did not serve within {READY_SECONDS:g} seconds"
            raise CannotStart(msg) from None
        if process.state is State.STARTING:
            status = await process.child.wait()
            msg = process.reason or f"worker {process.number} ended before it served, with status {status}"
            raise CannotStart(msg)

    async def _watch(self, process: Process) -> None:
        """Wait for the end of a process; start another one if it came by itself."""
        status = await process.child.wait()
        with contextlib.suppress(TimeoutError):  # its first word may be on its way still
            await asyncio.wait_for(process.settled.wait(), FIRST_WORD_SECONDS)
        self._processes.discard(process)
        address_of(self._folder, process.name).unlink(missing_ok=True)  # left where it was killed
        self._tell_state()
        if process.state is State.SERVING:
            _log.warning("a worker died", number=process.number, status=status)
            await self._replace(process)

    async def _replace(self, process: Process) -> None:
        """Start workers in place of one that died, at growing intervals, until one of them serves."""
        number, is_steady = process.number, time.monotonic() - process.started > STEADY
        wait = SHORTEST_WAIT if is_steady else min(2 * self._waits.get(number, SHORTEST_WAIT / 2), MAX_WAIT)
        while True:
            self._waits[number] = wait
            await asyncio.sleep(wait)
            if self._is_stopping or self._of(number, State.SERVING):  # a reload was faster
                return
            starting = self._of(number, State.STARTING)  # by a reload
            try:
                await self._wait_until_ready(starting[-1] if starting else await self._begun(number))
            except CannotStart as exc:
                wait = min(2 * wait, MAX_WAIT)
                _log.error("no worker in place of the one that died", error=str(exc), next_try_in_s=wait)
            if self._of(number, State.SERVING):
                return

    async def _watch_beats(self) -> None:
        """Kill workers whose event loop stands still; beats are counted, so that a machine's sleep is no worker's."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            for process in self._processes:
                if process.silent is None:
                    continue
                process.silent += 1
                if process.silent * BEAT_SECONDS > self._hang_timeout:
                    _log.error("a worker stands still, and is killed", number=process.number, silent_s=process.silent)
                    process.silent = None
                    process.tell(signal.SIGKILL)

    def _run(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tell_state(self) -> None:
        serving = {process.number for process in self._processes if process.state is State.SERVING}
        write_state(self._folder, WorkersState(len(serving), self._count))


def _no_room(number: int, exc: OSError) -> str:
    return f"worker {number} cannot be started: {exc}"
