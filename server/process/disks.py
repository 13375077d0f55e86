"""How much room is left on the disks that Footnote writes to itself; of another server's it knows nothing."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from server.process.probes import DependencyState, States

if TYPE_CHECKING:
    from config.settings import Settings
    from config.telemetry.metrics import Readings

LOW_SHARE = 0.1
LOW_BYTES = 10 * 1024**3
"""A disk is low when less than both is left: a tenth of it, ten GiB. The alert `FootnoteDiskLow` says the same."""
_GIB = 1024**3


class Disks:
    """The disks of folders; see `disks_of`."""

    def __init__(self, folders: Mapping[str, Path] | None = None) -> None:
        self._folders = dict(folders or {})
        self._seen: dict[str, tuple[int, int]] = {}

    async def look(self) -> States:
        """Measure what is free."""
        seen = await asyncio.to_thread(lambda: {name: _measured(folder) for name, folder in self._folders.items()})
        self._seen = seen
        low = [
            f"{name}: {free / _GIB:.2f} GiB of {size / _GIB:.2f} GiB are left on the disk of {self._folders[name]}"
            for name, (free, size) in seen.items()
            if free < min(LOW_SHARE * size, LOW_BYTES)
        ]
        return {"disk": DependencyState(ok=not low, detail="; ".join(low) or "has room", required=False)}

    def free(self) -> Readings:
        """Return the free bytes at the last look."""
        return [(free, {"footnote.disk": name}) for name, (free, _) in self._seen.items()]

    def sizes(self) -> Readings:
        """Return the bytes of each disk in all."""
        return [(size, {"footnote.disk": name}) for name, (_, size) in self._seen.items()]


def disks_of(settings: Settings) -> Disks:
    """Return the disks of the embedded database, where there is one, and of uploads."""
    folders = {"uploads": settings.data_dir / "uploads"}
    if settings.database.url is None:
        folders["database"] = settings.data_dir / "postgres"
    return Disks(folders)


def _measured(folder: Path) -> tuple[int, int]:
    """Return the bytes that are free for this process, and those in all."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    usage = shutil.disk_usage(there)
    return usage.free, usage.used + usage.free  # not `total`, some of which may be root's alone
