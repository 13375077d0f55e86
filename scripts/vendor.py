"""Other people's modules that the pages are made of, at `/` and at `/docs`, and axe-core, by which tests look at them.

    python scripts/vendor.py          fetches them with npm, in the versions below, and writes folders and locks
    python scripts/vendor.py --check  compares the folders with their locks; needs no network

The page has no bundler and no import map, which a strict Content-Security-Policy would refuse as an inline script. So
imports of packages are rewritten to the files beside them; nothing else of a module is changed but the comment that
names its source map. `lock.json` has each file's package, version, licence and SHA-256, and each package's SHA-512 as
npm gives it; it names no registry. To take newer versions, change `PACKAGES`, run this, and read what has changed.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tarfile
import tempfile
from pathlib import Path

from npm import packed

ROOT = Path(__file__).parents[1]
LOCK = "lock.json"
LICENCES = "LICENCES.txt"
DECLARATION = ".d.ts"
"""What the page uses of a module, for `scripts/page_types.py`."""

LANGUAGES = ("bash", "css", "go", "ini", "java", "javascript", "json", "python", "rust", "sql", "xml", "yaml")
Packages = dict[str, tuple[str, dict[str, str]]]
PAGE: Packages = {
    "preact": ("11.2.0", {"dist/preact.mjs": "preact.js", "hooks/dist/hooks.mjs": "preact-hooks.js"}),
    "@preact/signals-core": ("1.14.5", {"dist/signals-core.mjs": "signals-core.js"}),
    "@preact/signals": ("2.11.4", {"dist/signals.mjs": "signals.js"}),
    "htm": ("3.1.1", {"dist/htm.mjs": "htm.js"}),
    "marked": ("18.2.1", {"lib/marked.esm.js": "marked.js"}),
    "dompurify": ("3.5.0", {"dist/purify.es.mjs": "purify.js"}),
    "@highlightjs/cdn-assets": (
        "11.12.0",
        {
            "es/core.min.js": "highlight.js",
            **{f"es/languages/{name}.min.js": f"highlight-{name}.js" for name in LANGUAGES},
        },
    ),
}
"""Of each package its version, and which of its files becomes which of ours."""
FOLDERS: dict[str, Packages] = {
    "web/vendor": PAGE,
    "server/api/swagger": {
        "swagger-ui-dist": (
            "5.30.3",
            {"swagger-ui-bundle.js": "swagger-ui-bundle.js", "swagger-ui.css": "swagger-ui.css"},
        )
    },
    "tests/data/axe": {"axe-core": ("4.14.1", {"axe.min.js": "axe.js"})},
}

IMPORTED = {
    "preact": "./preact.js",
    "preact/hooks": "./preact-hooks.js",
    "@preact/signals-core": "./signals-core.js",
}
_FROM = re.compile(rb'(?<=from)"(%s)"' % b"|".join(map(re.escape, map(str.encode, IMPORTED))))
_SOURCE_MAP = re.compile(rb"\s*//# sourceMappingURL=\S+\s*$")


def main() -> int:
    """Fetch, or compare; return the exit code."""
    if sys.argv[1:] == ["--check"]:
        wrong = [line for folder in FOLDERS for line in differences(folder)]
        for line in wrong:
            print(f"error: {line}", file=sys.stderr)
        return 1 if wrong else 0
    if sys.argv[1:]:
        print("usage: python scripts/vendor.py [--check]", file=sys.stderr)
        return 2
    for folder, packages in FOLDERS.items():
        fetch(folder, packages)
    return 0


def differences(folder: str) -> list[str]:
    """Say what in a folder is not as its lock has it."""
    lock = json.loads((ROOT / folder / LOCK).read_text())
    locked = {name: each["sha256"] for name, each in lock["files"].items()}
    found = {path.name: _sha256(path.read_bytes()) for path in fetched(folder) if path.name != LOCK}
    wanted = {name: version for name, (version, _) in FOLDERS[folder].items()}
    stored = {name: each["version"] for name, each in lock["packages"].items()}
    return [
        *(f"{folder}/{name} is missing" for name in sorted(locked.keys() - found.keys())),
        *(f"{folder}/{name} is not in its lock" for name in sorted(found.keys() - locked.keys())),
        *(
            f"{folder}/{name} is not what was fetched: its SHA-256 is {found[name]}"
            for name in sorted(locked.keys() & found.keys())
            if locked[name] != found[name]
        ),
        *([f"{folder}/{LOCK} has other versions than scripts/vendor.py: run it"] if wanted != stored else []),
    ]


def fetched(folder: str) -> list[Path]:
    """Return what of a folder was fetched: all but the declarations, which are ours."""
    return [path for path in (ROOT / folder).iterdir() if not path.name.endswith(DECLARATION)]


def fetch(folder: str, wanted: Packages) -> None:
    """Write a folder anew from the registry that npm is set to."""
    files: dict[str, bytes] = {}
    about: dict[str, dict[str, str]] = {}
    packages: dict[str, dict[str, str]] = {}
    licences: list[str] = []
    with tempfile.TemporaryDirectory() as downloads:
        for package, (version, names) in wanted.items():
            archive, integrity = packed(package, version, Path(downloads))
            with tarfile.open(archive) as tar:
                described = json.loads(_member(tar, "package.json"))
                licences.append(f"{package} {version}: {described['license']}\n\n{_member(tar, 'LICENSE').decode()}")
                for source, name in names.items():
                    files[name] = _linked(_member(tar, source))
                    about[name] = {"package": package, "from": source}
            packages[package] = {"version": version, "licence": described["license"], "integrity": integrity}
    files[LICENCES] = f"\n{'-' * 80}\n\n".join(licences).encode()
    place = ROOT / folder
    place.mkdir(exist_ok=True)
    for path in fetched(folder):
        path.unlink()
    for name, content in files.items():
        (place / name).write_bytes(content)
    hashed = {name: {**about.get(name, {}), "sha256": _sha256(files[name])} for name in sorted(files)}
    (place / LOCK).write_text(json.dumps({"packages": packages, "files": hashed}, indent=2) + "\n")


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(f"package/{name}")
    if file is None:
        raise FileNotFoundError(name)
    return file.read()


def _linked(module: bytes) -> bytes:
    """Return a module with its imports of packages turned into those of the files beside it."""
    return _FROM.sub(lambda found: b'"%s"' % IMPORTED[found[1].decode()].encode(), _unmapped(module))


def _unmapped(module: bytes) -> bytes:
    return _SOURCE_MAP.sub(b"\n", module)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
