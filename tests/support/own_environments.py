"""Programs that tests talk to, each in an environment of its own; see scripts/environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fasteners
import pytest

ROOT = Path(__file__).parents[2]
NO_NETWORK = ("Failed to fetch", "Network connectivity is disabled", "error sending request")
"""What uv says where no package registry can be reached."""


def python_of(program: str) -> str:
    """Return the python of a program's environment, which is made the first time; skip the test where it cannot be."""
    cache = ROOT / ".cache"
    cache.mkdir(exist_ok=True)
    with fasteners.InterProcessLock(cache / f"{program}.lock"):
        done = subprocess.run(
            [ROOT / "scripts" / "environment", program, sys.prefix],
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
    if done.returncode and any(words in done.stderr for words in NO_NETWORK):
        pytest.skip(f"{program} is not installed, and no package registry answers: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
