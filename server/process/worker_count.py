"""How many processes serve HTTP."""

from __future__ import annotations

import structlog

from config.machine import cores, free_memory
from config.settings import Settings
from server.process.model_memory import bytes_of_each, bytes_of_local_model

MOST = 4
BYTES = 600_000_000
"""Memory of a worker: the libraries, the bundled embedding model, and the answers that are being written."""

_log = structlog.get_logger(__name__)


def worker_count(settings: Settings) -> int:
    """Return the number of workers: the settings', else one a core, four at most, and fewer where memory is short.

    The models that each worker loads count, and the local language model, which there is once.
    """
    if settings.server.workers is not None:
        return settings.server.workers
    wanted = min(MOST, cores())
    if wanted == 1:
        return 1
    each, once, free = BYTES + bytes_of_each(settings), bytes_of_local_model(settings), free_memory()
    room = max(1, (free - once) // each)
    if room < wanted:
        _log.warning(
            "memory is short: fewer workers than cores; FOOTNOTE_SERVER__WORKERS says otherwise",
            workers=room,
            cores=wanted,
            free_mb=free // 1_000_000,
            worker_mb=each // 1_000_000,
            local_model_mb=once // 1_000_000,
        )
    return min(wanted, room)
