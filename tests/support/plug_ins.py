"""Plug-in packages, built as wheels and installed into a folder of their own: their entry points are real."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copytree

PACKAGES = Path(__file__).parent / "plug_in_packages"
SAMPLE, BAD = "sample", "badly_written"
_MODULES = {SAMPLE: "footnote_sample", BAD: "footnote_bad"}


@functools.cache
def built(name: str) -> Path:
    """Build a package once a process; return its wheel."""
    folder = Path(tempfile.mkdtemp(prefix="plug-ins-"))
    copytree(PACKAGES / name, folder / "source", ignore=lambda *_: ["__pycache__", "build"])
    (folder / "wheels").mkdir()
    build = "from setuptools import build_meta; print(build_meta.build_wheel('../wheels'))"
    subprocess.run([sys.executable, "-c", build], cwd=folder / "source", check=True, capture_output=True)
    return next((folder / "wheels").glob("*.whl"))


def unpacked(folder: Path, *names: str) -> Path:
    """Install wheels into a folder, as pip does with pure ones."""
    for name in names:
        with zipfile.ZipFile(built(name)) as wheel:
            wheel.extractall(folder)
    return folder


@contextmanager
def installed(*names: str) -> Iterator[Path]:
    """Have packages installed beside, in this process, until the block ends."""
    with tempfile.TemporaryDirectory() as made:
        folder = unpacked(Path(made), *names)
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
        try:
            yield folder
        finally:
            sys.path.remove(str(folder))
            importlib.invalidate_caches()
            for module in [each for each in sys.modules if each.split(".")[0] in map(_MODULES.get, names)]:
                del sys.modules[module]
