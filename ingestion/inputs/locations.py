"""Where the file of a document may be, and whether it is gone."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from ingestion.identity import absolute


class HasFile(Protocol):
    """A stored document; `location` is None for what was never a file."""

    @property
    def source(self) -> str: ...  # noqa: D102 (see above)

    @property
    def location(self) -> str | None: ...  # noqa: D102 (see above)


class FileLocations:
    """The paths of documents' files: where each was read, and its source below the base folder of this run."""

    def __init__(self, *, base: Path | None) -> None:
        self._base = absolute(base) if base else None

    def of(self, document: HasFile) -> list[Path]:
        """Return the paths of a document's file; none for what was never a file."""
        if document.location is None:
            return []
        return [Path(document.location), *([self._base / document.source] if self._base else [])]

    def is_gone(self, document: HasFile) -> bool:
        """Tell whether a document was a file, and nothing is at any of its paths now.

        A symbolic link is there, wherever it leads: also one that dangles, since the disk of its target may only be
        unmounted. So is what we may not look at.
        """
        return bool(paths := self.of(document)) and not any(_may_exist(path) for path in paths)


def _may_exist(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError):
        return True  # a folder that we may not look into, a network share that is away
    return True
