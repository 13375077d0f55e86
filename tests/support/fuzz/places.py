"""Where the readers fail on files: our line, the library's line, and the error, as a run's report shows them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

LIMIT = 300  # seconds, for all of them
_PROGRAM = """
import json, pathlib, sys, traceback
from ingestion.readers import read
for name in sys.argv[1:]:
    path = pathlib.Path(name)
    try:
        read(path, data=path.read_bytes())
    except Exception as exc:
        frames = traceback.extract_tb(exc.__traceback__)
        ours = [frame for frame in frames if "/ingestion/" in frame.filename]
        places = [f"{pathlib.Path(frame.filename).name}:{frame.lineno}" for frame in (ours[-1], frames[-1])]
        print(json.dumps([name, " > ".join(places) + f" {type(exc).__name__}: {str(exc)[:120]}"]), flush=True)
"""


def places(files: Sequence[Path]) -> dict[str, str]:
    """Read the files once more, in one process; return where each fails that does."""
    command = [sys.executable, "-W", "ignore", "-c", _PROGRAM, *map(str, files)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {}
    return dict(json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"["))
