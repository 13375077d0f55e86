"""A place to measure in: a folder, a PostgreSQL server, and programs started with settings of our own."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2

from benchmarks.load import Outcome
from config.environment import FALLBACKS, PREFIX
from config.settings import Settings
from storage import schema_version
from storage.caller import LOCAL, acting_as
from storage.server import database_server

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Laboratory:
    """A folder with a PostgreSQL server; Footnote's own database is there and migrated."""

    folder: Path
    url: str

    def settings(self, **groups: dict[str, object]) -> Settings:
        """Return settings for Footnote here."""
        return Settings(data_dir=self.folder, **{"database": {"url": self.url}, **groups})  # type: ignore[arg-type]

    def database(self, name: str) -> str:
        """Make an empty database; return its URL."""
        connection = psycopg2.connect(self.url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
                cursor.execute(f"CREATE DATABASE {name}")
        finally:
            connection.close()
        url = self.url.replace("/footnote?", f"/{name}?")
        connection = psycopg2.connect(url)
        with connection, connection.cursor() as cursor:
            cursor.execute("CREATE EXTENSION vector")
        connection.close()
        return url

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment for a program; settings by the end of their names, ``LLM__PROVIDER="extractive"``."""
        clean = {key: value for key, value in os.environ.items() if not key.startswith(PREFIX) and key not in FALLBACKS}
        ours = {"DATABASE__URL": self.url, "DATA_DIR": str(self.folder), "SERVER__PORT": "0", "LOG__FORMAT": "json"}
        return clean | {"PYTHONPATH": str(ROOT)} | {PREFIX + key: value for key, value in (ours | settings).items()}

    def run(self, module: str, *arguments: str, stdin: str = "", **settings: str) -> str:
        """Run a program to its end; return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env=self.environment(**settings),
        )
        if done.returncode not in {0, 3}:  # 3: files were skipped
            msg = f"{module} failed: {done.stderr[-2000:]}"
            raise RuntimeError(msg)
        return done.stdout

    @contextmanager
    def serving(self, module: str, *arguments: str, **settings: str) -> Iterator[str]:
        """Start a server; yield its URL, which is in the first line that it prints."""
        with (self.folder / f"{module}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=self.environment(**settings),
            )
            try:
                line = process.stdout.readline() if process.stdout else ""
                urls = [word for word in line.split() if word.startswith("http://")]
                if not urls:
                    msg = f"{module} did not start: {Path(log.name).read_text()[-2000:]}"
                    raise RuntimeError(msg)
                yield urls[0]
            finally:
                process.terminate()
                process.wait(timeout=60)

    def load(
        self, url: str, *, clients: int, seconds: float, questions: Sequence[str], key: str = "", **besides: object
    ) -> Outcome:
        """Ask a server, from a process of its own; `besides` goes into each request's body."""
        arguments = [url, str(clients), str(seconds), json.dumps(besides), key]
        printed = self.run("benchmarks.load", *arguments, stdin="\n".join(questions))
        return Outcome(**json.loads(printed))


@contextmanager
def open_laboratory(folder: Path | None = None) -> Iterator[Laboratory]:
    """Open one in `folder`, which is kept, or in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="footnote-benchmark-") as temporary:
        place = (folder or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        if folder is None:
            place.chmod(0o755)  # PostgreSQL runs as another user where this runs as root
        with database_server(Settings(data_dir=place)) as server:
            asyncio.run(schema_version.upgrade(server.dsn))
            with acting_as(LOCAL):
                yield Laboratory(place, server.dsn)


def last_json(printed: str) -> Any:  # noqa: ANN401 (whatever a program reports)
    """Return the JSON of a program's last line."""
    return json.loads(printed.strip().splitlines()[-1])
