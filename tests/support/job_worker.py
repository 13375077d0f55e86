"""A worker as a process of its own, to be killed: real queue and loop, handlers that obey files.

``python job_worker.py DSN DIRECTORY GROUPS_OF_SETTINGS_AS_JSON``; prints ``ready``. The DSN ``embedded`` stands for a
PostgreSQL of its own under DIRECTORY. Its handler of ``wait`` jobs appends a line to ``begun``, and one to ``ended``
once ``go`` exists; that of ``stubborn`` jobs never returns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from config import logging
from config.settings import LogSettings, Settings
from config.telemetry.setup import open_telemetry
from ingestion.jobs import worker
from ingestion.jobs.retries import Handler, Progress
from storage.database import Database
from storage.jobs.jobs import Job


class Handlers:
    """See the module."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def note(self, name: str, job: Job) -> None:
        """Append a line to a file."""
        with (self._directory / name).open("a") as file:
            file.write(f"{job.id} {os.getpid()}\n")

    async def wait(self, job: Job, progress: Progress) -> dict[str, object]:
        """Wait for the file ``go``."""
        self.note("begun", job)
        progress.tell(1, total=2)
        while not (self._directory / "go").exists():  # noqa: ASYNC110 (a file does not tell)
            await asyncio.sleep(0.02)
        self.note("ended", job)
        return {"pid": os.getpid()}

    async def stubborn(self, job: Job, _progress: Progress) -> None:
        """Wait for ever."""
        self.note("begun", job)
        await asyncio.Event().wait()


def run(dsn: str, directory: Path, groups: dict[str, Any]) -> int:
    """Run the worker."""

    @asynccontextmanager
    async def open_handlers(_database: Database) -> AsyncIterator[Mapping[str, Handler]]:
        print("ready", flush=True)  # noqa: T201 (tells the test)
        handlers = Handlers(directory)
        yield {"wait": handlers.wait, "stubborn": handlers.stubborn}

    logging.configure(LogSettings())
    worker.POLL_SECONDS = 0.2
    database = {"connect_timeout": 20, "url": None if dsn == "embedded" else dsn}
    settings = Settings(data_dir=directory, database=database, llm={"provider": "extractive"}, **groups)
    is_traced = settings.telemetry.enabled
    with open_telemetry(settings.telemetry, version="0") if is_traced else nullcontext():
        return worker.main(argparse.Namespace(concurrency=None), settings, open_handlers=open_handlers)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])))
