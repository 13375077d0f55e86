"""What this process may use of the machine: in a container less than there is."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """Return the number of cores, at least 1: those that this process may run on, and its container's quota of them."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(usable, _quota() or usable))


def free_memory() -> int:
    """Return the bytes that can be taken without swapping, and without reaching the container's limit."""
    free = int(psutil.virtual_memory().available)
    limit, used = _number("memory.max"), _number("memory.current")
    if limit is None or used is None:
        return free
    return max(0, min(free, limit - used + _page_cache()))


def _quota() -> int | None:
    """Return the cores of the container's quota, rounded up; None: it has none, or there is no cgroup v2."""
    quota, _, period = _read("cpu.max").partition(" ")
    if not quota.isdigit() or not period.strip().isdigit():
        return None
    return -(-int(quota) // max(1, int(period)))


def _page_cache() -> int:
    """Return the bytes of files in memory that the kernel gives back first."""
    for line in _read("memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file" and value.isdigit():
            return int(value)
    return 0


def _number(name: str) -> int | None:
    text = _read(name).strip()
    return int(text) if text.isdigit() else None  # "max": no limit


def _read(name: str) -> str:
    """Return a file of this process's own cgroup, as it is mounted in a container; empty: there is none."""
    try:
        return (CGROUP / name).read_text()
    except OSError:
        return ""
