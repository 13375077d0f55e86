"""Listing the files under the paths that a user names: lazily, in a fixed order, each real file once."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ingestion.names import reason_of
from ingestion.readers.kinds import refusal
from ingestion.types import Skipped

_MAGIC = re.compile(r"[*?\[]")
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
}


def find_files(
    paths: Sequence[str], *, follow_hidden: bool = False, plugged_in: Container[str] = ()
) -> Iterator[Path | Skipped]:
    """Yield the files under `paths`, and skipped entries with the reason.

    A path is a file, a folder, which means all files below it, or a pattern with ``*``, ``?``, ``[…]`` and ``**``. The
    same paths give the same order. A file that is met twice comes once. What a path names itself is followed through
    symbolic links; below it, links to folders are not followed, and links to files only within the folder named.

    Args:
        paths: as a user or a shell writes them.
        follow_hidden: include files and folders whose names begin with a dot; otherwise only if named themselves.
        plugged_in: suffixes of files that plug-ins read.

    """
    walk = _Walk(follow_hidden=follow_hidden, plugged_in=plugged_in)
    for given in paths:
        path = Path(given)
        if "\0" in given:
            yield Skipped(Path(given.replace("\0", "")), "there is no such file or folder")
        elif os.path.lexists(path):
            yield from walk.named(path, explicit=True)
        elif _MAGIC.search(given):
            yield from walk.pattern(path)
        else:
            yield Skipped(path, "there is no such file or folder")


def is_pattern(given: str) -> bool:
    """Tell whether a path is a pattern; an existing file whose name looks like one is not."""
    return bool(_MAGIC.search(given)) and not os.path.lexists(given)


class _Walk:
    """One listing; it remembers which real files it has yielded."""

    def __init__(self, *, follow_hidden: bool, plugged_in: Container[str]) -> None:
        self._plugged_in = plugged_in
        self._hidden = follow_hidden
        self._seen: set[str] = set()

    def named(self, path: Path, *, explicit: bool = False) -> Iterator[Path | Skipped]:
        """Yield the files of a path that exists."""
        try:
            mode = path.stat().st_mode
            real = os.path.realpath(path, strict=True)
        except OSError as exc:
            broken = path.is_symlink()
            yield Skipped(path, "a symbolic link that leads nowhere" if broken else reason_of(exc))
            return
        if stat.S_ISDIR(mode):
            yield from self._folder(path, real)
        else:
            yield from self._file(path, real, mode, explicit=explicit)

    def pattern(self, pattern: Path) -> Iterator[Path | Skipped]:
        """Yield the files of all paths that match a pattern."""
        parts = pattern.parts
        fixed = next(place for place, part in enumerate(parts) if _MAGIC.search(part))
        found = False
        for path in self._matches(Path(*parts[:fixed]), parts[fixed:]):
            found = True
            yield from self.named(path)
        if not found:
            yield Skipped(pattern, "nothing matches this pattern")

    def _matches(self, folder: Path, parts: Sequence[str]) -> Iterator[Path]:
        stack: list[tuple[Path, Sequence[str]]] = [(folder, parts)]
        while stack:
            place, rest = stack.pop()
            if not rest:
                yield place
                continue
            first, later = rest[0], rest[1:]
            if first == "**":
                below = [(entry, rest) for entry in self._subfolders(place)]
                stack += [*reversed(below), (place, later)]
            elif not _MAGIC.search(first):
                stack += [(place / first, later)] if os.path.lexists(place / first) else []
            else:
                fitting = self._entries(place, hidden=first.startswith("."))
                stack += [(place / e.name, later) for e in reversed(fitting) if fnmatchcase(e.name, first)]

    def _subfolders(self, folder: Path) -> list[Path]:
        return [folder / entry.name for entry in self._entries(folder) if entry.is_dir(follow_symlinks=False)]

    def _entries(self, folder: Path, *, hidden: bool = False) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(folder) as entries:
                return self._shown(entries, hidden=hidden)
        except OSError:
            return []  # a pattern matches nothing in a folder that cannot be read

    def _shown(self, entries: Iterator[os.DirEntry[str]], *, hidden: bool = False) -> list[os.DirEntry[str]]:
        keep = hidden or self._hidden
        return sorted(
            (entry for entry in entries if keep or not entry.name.startswith(".")), key=lambda entry: entry.name
        )

    def _folder(self, named: Path, root: str) -> Iterator[Path | Skipped]:
        """Walk below a folder; `root` is its real path. Files of a folder come before those of its subfolders."""
        stack = [(named, root)]
        while stack:
            folder, real = stack.pop()
            try:
                with os.scandir(folder) as found:
                    entries = self._shown(found)
            except OSError as exc:
                yield Skipped(folder, reason_of(exc))
                continue
            below = []
            for entry in entries:
                path = folder / entry.name
                if entry.is_dir(follow_symlinks=False):
                    below.append((path, f"{real}/{entry.name}"))
                elif entry.is_symlink():
                    yield from self._link(path, root)
                else:
                    yield from self._entry(entry, path, f"{real}/{entry.name}")
            stack += reversed(below)

    def _entry(self, entry: os.DirEntry[str], path: Path, real: str) -> Iterator[Path | Skipped]:
        try:
            mode = stat.S_IFREG if entry.is_file(follow_symlinks=False) else entry.stat(follow_symlinks=False).st_mode
        except OSError as exc:
            yield Skipped(path, reason_of(exc))
            return
        yield from self._file(path, real, mode)

    def _link(self, path: Path, root: str) -> Iterator[Path | Skipped]:
        try:
            real = os.path.realpath(path, strict=True)
            mode = path.stat().st_mode
        except OSError:
            yield Skipped(path, "a symbolic link that leads nowhere, or in a circle")
            return
        inside = os.path.commonpath([root, real]) == root
        if stat.S_ISDIR(mode):
            yield Skipped(path, "a symbolic link to a folder; these are not followed")
        elif not inside:
            yield Skipped(path, "a symbolic link that leads out of the folder named")
        elif self._hidden or any(part.startswith(".") for part in Path(real).relative_to(root).parts):
            yield from self._file(
                path, real, mode
            )  # its target is hidden and not listed itself: Kubernetes mounts volumes like this
        # else: the target is listed under its own name

    def _file(self, path: Path, real: str, mode: int, *, explicit: bool = False) -> Iterator[Path | Skipped]:
        if real in self._seen:
            return
        self._seen.add(real)
        if not stat.S_ISREG(mode):
            yield Skipped(path, f"{_KINDS.get(stat.S_IFMT(mode), 'something special')}, no file")
            return
        reason = refusal(path, plugged_in=self._plugged_in)
        yield Skipped(path, reason, expected=not explicit) if reason else path
