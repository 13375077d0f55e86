"""One worker among those of its server."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

STATE = "workers.json"
NAME_LENGTH = 8
"""Characters of a worker's name, with which the ids of its streams begin."""


@dataclass(frozen=True, slots=True)
class Member:
    """A worker.

    Attributes:
        name: eight hexadecimal digits, another one for each process.
        number: place among the workers, from 1; whoever replaces it has the same.
        of: how many workers there are.
        directory: with a socket for each worker, and the supervisor's state; nobody else can read it.

    """

    name: str
    number: int
    of: int
    directory: Path

    @property
    def address(self) -> Path:
        """Its own socket."""
        return address_of(self.directory, self.name)

    def others(self) -> list[Path]:
        """Return the sockets of the other workers, those that are just ending included."""
        return sorted(path for path in self.directory.glob("*.sock") if path != self.address)

    def new_stream_id(self) -> str:
        """Return an id that cannot be guessed (90 random bits), by which the others find this worker."""
        return self.name + uuid4().hex[NAME_LENGTH:]

    def owner_of(self, stream_id: str) -> Path | None:
        """Return the socket of the worker that writes a stream; None if it is this one, or there is none."""
        path = address_of(self.directory, stream_id[:NAME_LENGTH])
        return path if path != self.address and path.exists() else None

    def state(self) -> WorkersState | None:
        """Return what the supervisor says; None if it cannot be read."""
        return read_state(self.directory)


@dataclass(frozen=True, slots=True)
class WorkersState:
    """How many workers answer, of how many."""

    answering: int
    wanted: int


def new_name() -> str:
    """Return a name for a worker."""
    return uuid4().hex[:NAME_LENGTH]


def address_of(directory: Path, name: str) -> Path:
    """Return the socket of a worker; names that clients send reach no other path."""
    safe = name if name.isalnum() and name.isascii() else "nobody"
    return directory / f"{safe}.sock"


def write_state(directory: Path, state: WorkersState) -> None:
    """Let the workers know; a reader sees the old state or the new one."""
    part = directory / f"{STATE}.{os.getpid()}"
    part.write_text(json.dumps([state.answering, state.wanted]))
    part.replace(directory / STATE)


def read_state(directory: Path) -> WorkersState | None:
    """Return the state that was written last."""
    try:
        answering, wanted = json.loads((directory / STATE).read_text())
    except (OSError, ValueError):
        return None
    return WorkersState(int(answering), int(wanted))
