"""One ``llama-server`` for several processes: its owner says in a file where it is, and the others read that."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import Any

import structlog

from server.engines.models.errors import ModelUnavailable
from server.engines.models.llama_server import POLL, LlamaServer

FILE = "llama-server.json"
UNREADABLE = "the local model's process is not known; the server that runs it has ended, or is starting"

_log = structlog.get_logger(__name__)


def publish(server: LlamaServer, file: Path) -> None:
    """Say in `file` what a server's state is, now and whenever it changes; its folder must be private."""

    def write() -> None:
        said = json.dumps({"url": server.url, "key": server.key, "state": server.state, "pid": server.pid})
        part = file.with_suffix(f".{os.getpid()}")
        try:
            part.touch(mode=0o600)
            part.write_text(said)
            part.replace(file)
        except OSError as exc:
            _log.error("the workers do not learn of the local model's new state", error=str(exc))

    server.on_change = write
    write()


class SharedLlama:
    """The ``llama-server`` of another process; see `LlamaServer`."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @property
    def key(self) -> str:
        """Its bearer token; empty until it is known."""
        return str(self._read().get("key") or "")

    @property
    def pid(self) -> int | None:
        """Process id, where there is a process."""
        return self._read().get("pid")

    @property
    def state(self) -> str | None:
        """Why the server cannot answer now, or None if it can."""
        reason: str | None = self._read().get("state", UNREADABLE)
        return reason

    def start(self) -> None:
        """Do nothing: its owner starts it."""

    async def ready(self, *, timeout: float | None) -> str:  # noqa: ASYNC109 (one wait, not a scope)
        """See `LlamaServer.ready`."""
        end = None if timeout is None else time.monotonic() + timeout
        while (reason := self.state) is not None:
            if end is not None and time.monotonic() >= end:
                raise ModelUnavailable(reason)
            await asyncio.sleep(POLL)
        return str(self._read().get("url"))

    async def close(self) -> None:
        """Do nothing: its owner ends it."""

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
