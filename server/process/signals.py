"""What the log tells of the signals that stop or reload a server."""

from __future__ import annotations

import signal

import structlog

_log = structlog.get_logger(__name__)


def log_stop(number: int, *, at_once: bool = False) -> None:
    """Say which signal stops the server."""
    _log.info("stopping at once" if at_once else "stopping", signal=signal.Signals(number).name)


def log_reload(number: int) -> None:
    """Say which signal lets the workers be replaced."""
    _log.info("reloading", signal=signal.Signals(number).name)
