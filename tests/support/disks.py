"""A small disk that a test may fill."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(*, megabytes: int) -> Iterator[Path]:
    """Mount a tmpfs, for which one has to be root; skip the test where that is not allowed."""
    folder = Path(tempfile.mkdtemp(prefix="footnote-disk-"))
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=755", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        if done.returncode:
            pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
        yield folder
    finally:
        if not done.returncode:
            subprocess.run(["umount", "--lazy", folder], check=True)
        folder.rmdir()
