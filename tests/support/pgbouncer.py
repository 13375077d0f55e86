"""A real PgBouncer before the tests' PostgreSQL, with its default settings but for those that a test gives.

with start_pgbouncer(dsn, mode="transaction") as pgbouncer:
    Database.open(pgbouncer.url(dsn), ...)
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg2
import pytest
from support.nginx import free_port
from support.sql import execute
from support.tcp_proxy import TcpProxy

INSTALL = "apt-get install pgbouncer"
STARTING_SECONDS = 10.0
PASSWORD = "p@ss/w#rd"
"""It has to be escaped in a URL."""
USERS = ("postgres", "footnote", "owner")
CONF = """
[databases]
* = {server}
[pgbouncer]
listen_addr = {address}
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = {mode}
admin_users = postgres
{options}
"""


@dataclass(frozen=True)
class PgBouncer:
    """A pooler that runs."""

    port: int
    folder: Path

    def url(self, dsn: str, *, host: str = "127.0.0.1", password: str = PASSWORD, query: str = "") -> str:
        """Return the URL by which a database of the tests' PostgreSQL is reached through it."""
        parts = urlsplit(dsn)
        secret = f":{quote(password, safe='')}" if password else ""
        return f"postgresql://{parts.username}{secret}@{host}:{self.port}{parts.path}{query}"

    def log(self) -> str:
        """Return what it wrote."""
        return (self.folder / "log").read_text()

    def admin(self, command: str) -> None:
        """Run a command of its console, `PAUSE` say."""
        execute(f"postgresql://postgres:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/pgbouncer", command)

    def clients(self) -> int:
        """Return how many clients it believes to have, its console's own left out."""
        url = f"postgresql://postgres:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/pgbouncer"
        connection = psycopg2.connect(url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SHOW CLIENTS")
                names = [column.name for column in cursor.description or ()]
                return sum(dict(zip(names, row, strict=True))["database"] != "pgbouncer" for row in cursor.fetchall())
        finally:
            connection.close()

    def set_password(self, password: str) -> None:
        """Let clients in with this password only."""
        _write_users(self.folder, password)
        self.admin("RELOAD")


@contextlib.contextmanager
def start_pgbouncer(
    dsn: str,
    *,
    mode: str,
    options: Mapping[str, object] | None = None,
    address: str = "127.0.0.1",
    proxy: TcpProxy | None = None,
) -> Iterator[PgBouncer]:
    """Run PgBouncer before the PostgreSQL that has this database; skips the test where it is not installed.

    `proxy`: it reaches that by way of it.
    """
    folder = Path(tempfile.mkdtemp(prefix="footnote-pgbouncer-"))
    port, sockets = free_port(), Path(parse_qs(urlsplit(dsn).query)["host"][0])
    (folder / "pgbouncer.ini").write_text(
        CONF.format(
            server=f"host=127.0.0.1 port={proxy.port}" if proxy else f"host={sockets} port=5432",
            address=address,
            port=port,
            folder=folder,
            mode=mode,
            options="\n".join(f"{name} = {_readable(value, folder)}" for name, value in (options or {}).items()),
        )
    )
    _write_users(folder, PASSWORD)
    folder.chmod(0o755)
    with (folder / "log").open("w") as log:
        # it refuses to run as root; PostgreSQL's own user can reach the socket
        user = sockets.owner() if os.geteuid() == 0 else None
        process = subprocess.Popen([binary(), str(folder / "pgbouncer.ini")], stdout=log, stderr=log, user=user)
    made = PgBouncer(port, folder)
    try:
        _wait(process, made, dsn)
        yield made
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _readable(value: object, folder: Path) -> object:
    """Return a value; a file, as a copy that whoever PgBouncer runs as can read."""
    if not isinstance(value, Path):
        return value
    copy = folder / value.name
    shutil.copyfile(value, copy)
    copy.chmod(0o644)
    return copy


def binary() -> str:
    """Return the program's path; skip the test where there is none."""
    found = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        pytest.skip(f"PgBouncer is not installed: {INSTALL}")
    return found


def _write_users(folder: Path, password: str) -> None:
    (folder / "users.txt").write_text("".join(f'"{name}" "{password}"\n' for name in USERS))


def _wait(process: subprocess.Popen[bytes], made: PgBouncer, dsn: str) -> None:
    deadline = time.monotonic() + STARTING_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psycopg2.OperationalError):
            execute(made.url(dsn), "SELECT 1")
            return
        time.sleep(0.05)
    msg = f"PgBouncer did not start: {made.log()[-500:]}"
    raise RuntimeError(msg)
