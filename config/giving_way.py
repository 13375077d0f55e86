"""Ingestion beside a server: it gives way on the CPU while that one is asked, and only then."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import structlog

NOTED_SECONDS = 1.0
"""A server notes that it is asked no more often than that."""
ASKED_SECONDS = 30.0
"""For so long after a question a server counts as one that is asked: a local model takes its time."""
LOOK_SECONDS = 2.0

_log = structlog.get_logger(__name__)


class LastAsked:
    """When a server with this data directory was asked last: the modification time of a file in it, ``asked``."""

    def __init__(self, data_dir: Path) -> None:
        self._file = data_dir.expanduser() / "asked"
        self._noted = -NOTED_SECONDS

    def note(self) -> None:
        """Note that it is asked now; where the directory cannot be written, nobody gives way."""
        now = time.monotonic()
        if now - self._noted >= NOTED_SECONDS:
            self._noted = now
            with suppress(OSError):
                self._file.touch()

    def is_asked(self) -> bool:
        """Tell whether a question came within the last `ASKED_SECONDS`."""
        try:
            return time.time() - self._file.stat().st_mtime < ASKED_SECONDS
        except OSError:
            return False


@contextmanager
def giving_way(data_dir: Path, *, nice: int) -> Iterator[None]:
    """Run this process, and those that it starts, at `nice` while the server is asked; 0: never.

    The system gives priority back to privileged users only: for others it stays low until the process ends.
    """
    if not nice:
        yield
        return
    over = threading.Event()
    watching = threading.Thread(target=_watch, args=(LastAsked(data_dir), nice, over), name="giving way", daemon=True)
    watching.start()
    try:
        yield
    finally:
        over.set()
        watching.join()


def _watch(asked: LastAsked, nice: int, over: threading.Event) -> None:
    own, gives_way = psutil.Process().nice(), False
    while True:
        if asked.is_asked() != gives_way:
            wanted = own if gives_way else max(own, nice)
            if not _renice(wanted):
                return  # it is not allowed to be quicker again
            gives_way = not gives_way
            _log.debug(  # it may change its mind every few seconds
                "a server on this machine is asked: ingestion gives way"
                if gives_way
                else "the server is not asked any more: ingestion goes on at full speed",
                nice=wanted,
            )
        if over.wait(LOOK_SECONDS):
            break
    if gives_way:
        _renice(own)


def _renice(nice: int) -> bool:
    """Set the priority of this process and its children, of all their threads; return whether that was allowed."""
    own = psutil.Process()
    for process in [own, *own.children(recursive=True)]:
        try:
            for thread in _threads(process.pid):
                os.setpriority(os.PRIO_PROCESS, thread, nice)
        except PermissionError:
            return False
        except (OSError, psutil.Error):  # it has just ended
            continue
    return True


def _threads(pid: int) -> list[int]:
    """Return the threads of a process, whose priorities differ on Linux; elsewhere a process has one."""
    if sys.platform != "linux":
        return [pid]
    return [int(each.name) for each in Path(f"/proc/{pid}/task").iterdir()]
