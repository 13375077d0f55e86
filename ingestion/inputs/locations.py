"""Where the file of a document may be, whether it is gone, and whether this run can tell."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from ingestion.identity import absolute
from ingestion.inputs.walk import is_pattern


class HasFile(Protocol):
    """A stored document; `location` is None for what was never a file."""

    @property
    def source(self) -> str: ...  # noqa: D102 (see above)

    @property
    def location(self) -> str | None: ...  # noqa: D102 (see above)


class FileLocations:
    """The paths of documents' files: where each was read, and its source below the base folder of this run.

    It does file system calls.

    Args:
        base: folder that sources are named relative to.
        named: the files, folders and patterns of this run.

    """

    def __init__(self, *, base: Path | None, named: Sequence[str] = ()) -> None:
        self._base = absolute(base) if base else None
        patterns = [path for path in named if is_pattern(path)]
        self._roots = [absolute(Path(path)) for path in named if path not in patterns]
        self._patterns = [absolute(Path(path)).parts for path in patterns]
        self._found: dict[Path, Path] = {}  # the last file that was found under a root

    def of(self, document: HasFile) -> list[Path]:
        """Return the paths of a document's file; none for what was never a file."""
        if document.location is None:
            return []
        # sources are stored as NFC; file systems may have their accents apart
        names = {document.source, unicodedata.normalize("NFD", document.source)} if self._base else set()
        return [Path(document.location), *(self._base / name for name in sorted(names) if self._base)]

    def roots(self, document: HasFile) -> set[Path]:
        """Return the files and folders named that contain the document's file; empty if the run does not cover it."""
        return {root for path in self.of(document) for root in self._roots if path.is_relative_to(root)}

    def is_gone(self, document: HasFile) -> bool:
        """Tell whether a document was a file, and nothing is at any of its paths now.

        A symbolic link is there, wherever it leads: also one that dangles, since the disk of its target may only be
        unmounted. So is what we may not look at.
        """
        return bool(paths := self.of(document)) and not any(_may_exist(path) for path in paths)

    def has_moved(self, document: HasFile) -> bool:
        """Tell whether a document's file is gone from where this run looks, so that an equal file may be that file.

        What this run does not look at, another machine may have; and a disk that is not mounted has no files at all.
        """
        if document.location is None or not self.is_gone(document):
            return False
        path = Path(document.location)
        roots = self._roots_of(path)
        # asked last: a disk may go at any time
        return bool(roots) and all(self.is_there(root) for root in roots) and _empty_folder_of(path) is None

    def empty_folder(self, document: HasFile) -> Path | None:
        """Return the empty folder below which the document's file was, as named; None if there is none.

        Deleting the files of a folder may leave it like this, but so does unmounting a disk.
        """
        paths = (path for path in self.of(document) if any(path.is_relative_to(root) for root in self._roots))
        return next((folder for path in paths if (folder := _empty_folder_of(path))), None)

    def is_there(self, root: Path) -> bool:
        """Tell whether a named path is there now, and has a file in it if it is a folder."""
        try:
            known = self._found.get(root)
            if known is None or not known.is_file():
                known = next(_files(root), None)
        except (OSError, ValueError):
            return False
        if known is None:
            return False
        self._found[root] = known
        return True

    def _roots_of(self, path: Path) -> set[Path]:
        """Return what names the path; under a pattern its folder, or the folder that the pattern fits."""
        roots = {root for root in self._roots if path.is_relative_to(root)}
        for pattern in self._patterns:
            fitting = next((each for each in (path, *path.parents) if _fits(each.parts, pattern)), None)
            if fitting is not None:
                roots.add(path.parent if fitting == path else fitting)
        return roots


def _may_exist(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return any(parent.is_symlink() and not parent.exists() for parent in path.parents)
    except (OSError, ValueError):
        return True  # a folder that we may not look into, a network share that is away
    return True


def _empty_folder_of(path: Path) -> Path | None:
    """Return the nearest folder above a path that exists, if there is nothing in it, or nobody can tell."""
    for folder in path.parents:
        try:
            with os.scandir(folder) as entries:
                return None if any(not entry.name.startswith(".") for entry in entries) else folder
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError):
            return folder  # a network share that went away
    return None


def _files(root: Path) -> Iterator[Path]:
    """Yield the files under a path, hidden ones left out; only the first few are ever wanted."""
    if root.is_file():
        yield root
        return
    stack = [str(root)]
    while stack:
        below = []
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.path)
                else:
                    yield Path(entry.path)
        stack += below


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Tell whether a path fits a pattern; ``**`` stands for any number of folders."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[begin:], pattern[1:]) for begin in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
