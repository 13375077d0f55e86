"""The connections that a server may open beside those that PostgreSQL allows, told at the start and in ``/ready``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import structlog

from server.process.worker import is_wanted
from storage.budget import budget
from storage.pooler import Pooler

if TYPE_CHECKING:
    from pathlib import Path

    from config.settings import Settings
    from storage.database import Database

OWN = 2
"""Of each process that serves, outside its pool: to hear of flips and of keys."""
LEAST_OF_WORKER = 4
"""In the pool of each of several processes that serve, whatever the setting says."""
FILE = "connections.json"
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Connections:
    """What one server, with all its processes, may open.

    Attributes:
        pooled: in pools, at most.
        direct: outside of them, at most.
        allowed: by PostgreSQL, to this user.
        open: there, when it was asked, of whoever.
        pooler: that the pooled ones go through.

    """

    pooled: int
    direct: int
    allowed: int
    open: int
    pooler: str

    @property
    def to_postgres(self) -> int:
        """Those that are PostgreSQL's for certain: a pooler in transaction mode makes few of many."""
        return self.direct if self.pooler == Pooler.TRANSACTION else self.pooled + self.direct

    @property
    def fits(self) -> bool:
        """Whether PostgreSQL allows as many."""
        return self.to_postgres <= self.allowed

    @property
    def servers(self) -> int:
        """How many such servers there is room for."""
        return self.allowed // max(1, self.to_postgres)

    @property
    def facts(self) -> dict[str, str | int]:
        """What the line for people tells, for programs."""
        return {
            "most": self.to_postgres,
            "allowed": self.allowed,
            "servers": self.servers,
            "open_at_start": self.open,
            "pooler": self.pooler,
        }

    def __str__(self) -> str:
        """Return a line for people."""
        limits = {
            Pooler.NONE: "",
            Pooler.SESSION: f"; of its default_pool_size the pooler lends as many ({self.pooler} mode)",
            Pooler.TRANSACTION: f"; besides {self.pooled} to the pooler, of its max_client_conn ({self.pooler} mode)",
        }
        return (
            f"up to {self.to_postgres} of this server, {self.allowed} allowed by PostgreSQL: room for "
            f"{self.servers} such servers; {self.open} were open at its start" + limits[Pooler(self.pooler)]
        )


async def compared(database: Database, settings: Settings, *, workers: int) -> Connections:
    """Compare, and log it; `settings` are the server's, before they are shared out among workers."""
    most = settings.database.pool_max
    pooled = most if workers == 1 else workers * max(LEAST_OF_WORKER, -(-most // workers))
    direct = workers * OWN
    if is_wanted(settings):  # it listens for jobs, and a job may hold a lock
        pooled, direct = pooled + most, direct + 1 + settings.jobs.concurrency
    asked = await budget(database)
    found = Connections(pooled, direct, asked.allowed, asked.open, database.pooler.value)
    tell = _log.info if found.fits else _log.warning
    tell("connections to the database", most=found.to_postgres, allowed=found.allowed, detail=str(found))
    return found


def write(folder: Path, found: Connections) -> None:
    """Let the workers know."""
    (folder / FILE).write_text(json.dumps(asdict(found)))


def read(folder: Path) -> Connections | None:
    """Return what the supervisor found; None if it cannot be read."""
    try:
        return Connections(**json.loads((folder / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
