"""Check the types of the page's modules with the TypeScript compiler; `tsconfig.json` says which, and how strictly.

    python scripts/page_types.py                  checks; fetches the compiler into .cache, once
    python scripts/page_types.py --lock VERSION   takes another version of the compiler

Types stand in comments (JSDoc), so that browsers run what is written. The compiler and Node serve development only.
`typescript.json` has the compiler's version and its SHA-512 as npm gives it; it names no registry.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from npm import node, packed

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache"
LOCK = Path(__file__).with_name("typescript.json")
PACKAGE = "typescript"


def main() -> int:
    """Check, or lock another version; return the exit code."""
    match sys.argv[1:]:
        case []:
            command = [node(), str(compiler()), "--project", str(ROOT)]
            return subprocess.run(command, cwd=ROOT, check=False).returncode  # noqa: S603
        case ["--lock", version]:
            with tempfile.TemporaryDirectory() as downloads:
                _, integrity = packed(PACKAGE, version, Path(downloads))
            LOCK.write_text(json.dumps({"version": version, "integrity": integrity}, indent=2) + "\n")
            return 0
    print("usage: python scripts/page_types.py [--lock VERSION]", file=sys.stderr)
    return 2


def compiler() -> Path:
    """Return the compiler's path in the cache, where it is put if it is not there yet."""
    locked = json.loads(LOCK.read_text())
    kept = CACHE / f"{PACKAGE}-{locked['version']}"
    if not kept.exists():
        CACHE.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as downloads:
            archive, integrity = packed(PACKAGE, locked["version"], Path(downloads))
            if integrity != locked["integrity"]:
                msg = f"error: {PACKAGE} {locked['version']} is {integrity}, {LOCK.name} says {locked['integrity']}"
                raise SystemExit(msg)
            with tarfile.open(archive) as tar:
                tar.extractall(downloads, filter="data")
            try:
                (Path(downloads) / "package").rename(kept)
            except OSError:  # another check was faster
                if not kept.exists():
                    raise
    return kept / "lib/tsc.js"


if __name__ == "__main__":
    sys.exit(main())
