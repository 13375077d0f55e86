"""How many processes serve HTTP."""

from __future__ import annotations

import os

import psutil
import structlog

from config.settings import Settings

MOST = 4
BYTES = 900_000_000
"""Memory that is free for each worker, at least: it has the libraries, the embedding model and answers in it."""

_log = structlog.get_logger(__name__)


def worker_count(settings: Settings) -> int:
    """Return the number of workers: the settings', else one a core, four at most, and fewer where memory is short."""
    if settings.server.workers is not None:
        return settings.server.workers
    cores = min(MOST, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if cores > 1 and settings.llm.provider == "local":
        _log.info("one worker serves, as it runs the local model", cores=cores)
        return 1
    room = max(1, int(psutil.virtual_memory().available // BYTES))
    if room < cores:
        _log.warning("memory is short: fewer workers than cores", workers=room, cores=cores)
    return min(cores, room)
