"""Seconds by the clock and seconds of processors: the latter hold on a machine that others use too."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import psutil
import psycopg2


@dataclass(frozen=True, slots=True)
class Effort:
    """What something took.

    Attributes:
        seconds: by the clock.
        cpu: seconds of processors, of this process, its children and PostgreSQL.
        postgres: PostgreSQL's share of `cpu`.

    """

    seconds: float
    cpu: float
    postgres: float


class Meter:
    """Counts from when it is made; the processes that end meanwhile must be children of those that stay."""

    def __init__(self, url: str) -> None:
        self._server = _postmaster(url)
        self._began = self._now()

    def read(self) -> Effort:
        """Return what it took so far."""
        began, now = self._began, self._now()
        return Effort(now.seconds - began.seconds, now.cpu - began.cpu, now.postgres - began.postgres)

    def _now(self) -> Effort:
        postgres = _cpu(self._server)
        # a process of ours may have started the server
        ours = _cpu(psutil.Process(), but=self._server)
        return Effort(time.perf_counter(), ours + postgres, postgres)


def _postmaster(url: str) -> psutil.Process:
    connection = psycopg2.connect(url)
    try:
        process = psutil.Process(connection.info.backend_pid).parent()
    finally:
        connection.close()
    if process is None or process.pid == os.getpid():
        msg = "PostgreSQL must run on this machine"
        raise RuntimeError(msg)
    return process


def _cpu(process: psutil.Process, *, but: psutil.Process | None = None) -> float:
    if process == but:
        return 0.0
    try:
        times = process.cpu_times()
        children = process.children()
    except psutil.NoSuchProcess:  # its parent counts it from now on
        return 0.0
    used = times.user + times.system + times.children_user + times.children_system
    return float(used) + sum(_cpu(child, but=but) for child in children)
