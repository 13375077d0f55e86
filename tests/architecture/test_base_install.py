"""What the image `slim` rests on: our modules can be imported where only the base dependencies are installed."""

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
ABOVE_THE_BASE = {"evaluation", "benchmarks"}  # programs for which an extra is needed anyhow
OF_AN_EXTRA = (
    "ingestion.ray",
    "embedding.library",
    "server.engines.reranking.library",
)  # imported where they are needed
ENTRY_POINTS = {"__main__", "env"}  # run, not imported; env.py is Alembic's

# Modules of extras that a module of the base still imports when it is imported itself. Mend it and delete it here.
NOT_YET: set[str] = set()

IMPORT_ALL = """
import importlib, json, sys
from importlib.machinery import PathFinder
from pathlib import Path

ours, absent, not_yet = (tuple(json.loads(argument)) for argument in sys.argv[1:])
root = str(Path.cwd())
sys.path.insert(0, root)
absent, found, failed = set(absent), set(), {}

def frames():
    frame = sys._getframe(2)
    while frame:
        if "importlib" not in frame.f_code.co_filename:
            yield frame
        frame = frame.f_back

class BaseInstall(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name in not_yet:
            by = Path(next(frames()).f_code.co_filename)
            if by.is_relative_to(root) and "site-packages" not in by.parts:
                found.add(name)
        elif name in absent and not any(frame.f_globals.get("__name__", "").startswith(not_yet) for frame in frames()):
            return None
        return PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = BaseInstall
for name in ours:
    try:
        importlib.import_module(name)
    except ImportError as exc:
        failed[name] = str(exc)
print(json.dumps([sorted(found), failed]))
"""


def modules_of(distribution: Distribution) -> set[str]:
    """Name what a distribution brings to import: its outermost packages and modules, in namespace packages too."""
    files = [PurePosixPath(file) for file in distribution.files or [] if file.suffix in {".py", ".so"}]
    packages = {file.parent for file in files if file.name == "__init__.py"}
    outermost = {package for package in packages if not packages & set(package.parents)}
    alone = {PurePosixPath(file.name.split(".")[0]) for file in files if file.parent == PurePosixPath()}
    return {".".join(path.parts) for path in outermost | alone if ".." not in path.parts}


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def absent_from_the_base() -> set[str]:
    """Name the modules that are installed here and are not in the lock of the base install."""
    base = set(re.findall(r"^([a-z0-9][^ =]*)==", (ROOT / "requirements-slim.lock").read_text(), flags=re.MULTILINE))
    brought: dict[bool, set[str]] = {True: set(), False: set()}
    for distribution in distributions():
        brought[normalized(distribution.metadata["Name"]) in base] |= modules_of(distribution)
    return brought[False] - brought[True]


def modules() -> list[str]:
    """Name every module of ours that a base install must be able to import."""
    packages = {path.parent for path in ROOT.glob("*/__init__.py")} - {ROOT / name for name in ABOVE_THE_BASE}
    names = sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in packages
        for path in package.rglob("*.py")
        if path.stem not in ENTRY_POINTS and path.parent.name != "versions"
    )
    return [name for name in names if not name.startswith(OF_AN_EXTRA)]


def test_the_base_can_be_imported_without_any_extra() -> None:
    absent = absent_from_the_base()
    assert {"torch", "sentence_transformers", "ir_measures", "matplotlib", "ray", "pytest"} <= absent
    assert absent >= NOT_YET
    arguments = [modules(), sorted(absent), sorted(NOT_YET)]
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *map(json.dumps, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    found, failed = json.loads(ran.stdout.splitlines()[-1])
    assert failed == {}
    assert set(found) == NOT_YET
