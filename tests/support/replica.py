"""A streaming replica of an embedded PostgreSQL, made with the programs of the same package, which can be promoted."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg2
from support.sql import execute
from support.stack import until

from storage.local import LocalPostgres


class Replica:
    """See `streaming_replica`.

    Attributes:
        dsn: URL of its database `footnote`.

    """

    def __init__(self, primary: LocalPostgres, folder: Path, *, source: str) -> None:
        server = primary._server
        self._bin, self._folder, self._user = server.bin_path, folder, server.system_user
        self._source = source
        self.dsn = f"postgresql://postgres@/footnote?host={quote(str(folder), safe='')}"

    def start(self) -> None:
        """Copy the primary, and follow it."""
        host = parse_qs(urlsplit(self._source).query)["host"][0]
        self._run(
            "pg_basebackup",
            "-h",
            host,
            "-U",
            "postgres",
            "-D",
            str(self._folder / "data"),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
        )
        options = f"-h '' -k {self._folder}"
        self._run(
            "pg_ctl", "-w", "-D", str(self._folder / "data"), "-l", str(self._folder / "log"), "-o", options, "start"
        )
        until(self._answers)

    def has_caught_up(self) -> bool:
        """Tell whether it has replayed all that the primary has written until now."""
        ((written,),) = execute(self._source, "SELECT pg_current_wal_lsn()")
        ((done,),) = execute(self.dsn, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", written)
        return bool(done)

    def promote(self) -> None:
        """Make it the writer."""
        self._run("pg_ctl", "-w", "-D", str(self._folder / "data"), "promote")

    def stop(self) -> None:
        """End it."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "-w", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def _run(self, program: str, *arguments: str) -> None:
        # not into a pipe, which the server that pg_ctl starts would keep open
        with (self._folder / "output").open("ab") as output:
            subprocess.run(
                [str(self._bin / program), *arguments],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                user=self._user,
                cwd=self._folder,
            )

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg2.Error):
            return execute(self.dsn, "SELECT pg_is_in_recovery()") == [(True,)]
        return False


@contextlib.contextmanager
def streaming_replica(primary: LocalPostgres, dsn: str) -> Iterator[Replica]:
    """Run a replica of the primary at a URL, until the block ends."""
    folder = Path(tempfile.mkdtemp(prefix="footnote-replica-"))
    replica = Replica(primary, folder, source=dsn)
    if replica._user is not None:  # PostgreSQL does not run as root
        shutil.chown(folder, user=replica._user)
    folder.chmod(0o711)  # its user may pass
    try:
        replica.start()
        yield replica
    finally:
        replica.stop()
        shutil.rmtree(folder, ignore_errors=True)
