"""A real Ray cluster of several nodes, each a set of processes on this machine, and a light model to run on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace

import numpy as np
import psutil

from config.settings import Settings
from embedding.files import ModelFiles, find_model

STORE_BYTES = 100_000_000
STARTING_SECONDS = 60


class RayNodes:
    """Nodes that are started one after the other, the head first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""

    def start(self, *, cpus: int) -> None:
        """Start a node and wait until it is part of the cluster."""
        where = [f"--address={self.address}"] if self.address else ["--head", "--port=0", "--include-dashboard=false"]
        shared = [f"--temp-dir={self.folder}"] if not self.address else []
        subprocess.run(
            [
                *(sys.executable, "-m", "ray.scripts.scripts", "start", *where, *shared),
                *(f"--num-cpus={cpus}", f"--object-store-memory={STORE_BYTES}", "--disable-usage-stats"),
            ],
            check=True,
            timeout=STARTING_SECONDS,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,  # nodes know nothing of the checkout
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent), "TMPDIR": str(self.folder)},
        )
        self.address = self.address or (self.folder / "ray_current_cluster").read_text().strip()

    def processes(self) -> list[psutil.Process]:
        """Return every process of the cluster: each has its folder among its arguments, or a parent that has."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.folder) in " ".join(process.cmdline()):
                    found += [process, *process.children(recursive=True)]
        return list(dict.fromkeys(found))

    def actors(self, name: str) -> list[psutil.Process]:
        """Return the processes of the actors of a class."""
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if f"ray::{name}" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def reading(self) -> list[psutil.Process]:
        """Return the processes in which actors read files."""
        found = []
        for actor in self.actors("ParsingActor"):
            with contextlib.suppress(psutil.Error):
                found += [child for child in actor.children() if "spawn_main" in " ".join(child.cmdline())]
        return found

    def kill(self) -> None:
        """End all of them at once."""
        while doomed := self.processes():
            for process in doomed:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(doomed, timeout=1)


@contextlib.contextmanager
def ray_environment() -> Iterator[None]:
    """Set what Ray reads when it is loaded: a token of these tests' own, and no waiting for what is gone."""
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    before = dict(os.environ)
    os.environ.update(own)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def start_ray(*cpus: int) -> Iterator[RayNodes]:
    """Lend a cluster with a node for each number of CPUs."""
    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # its sockets' paths must be short
    nodes = RayNodes(folder)
    try:
        for each in cpus:
            nodes.start(cpus=each)
        yield nodes
    finally:
        nodes.kill()
        shutil.rmtree(folder, ignore_errors=True)


def made_up(texts: Sequence[str]) -> np.ndarray:
    """Return a vector for each text that tells it from the others."""
    vectors = np.zeros((len(texts), 384), dtype=np.float32)
    vectors[:, :2] = [(len(text), sum(map(ord, text))) for text in texts]
    return vectors


@dataclass(frozen=True)
class SlowModel:
    """Takes its time, as a real one does, and cannot take the word ``poison``."""

    files: ModelFiles
    settings: Settings

    @property
    def identity(self) -> object:
        """What the vectors are made with."""
        return self.files.identity(self.settings.embedding)

    async def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed."""
        from embedding.errors import EmbeddingFailed

        if "poison" in texts:
            msg = "the model does not take it"
            raise EmbeddingFailed(msg)
        if "secrets" in texts:  # tells what it was given
            return made_up([str(self.settings.database.url), str(self.settings.llm.api_key)])
        await asyncio.sleep(0.02 * len(texts))
        return made_up(texts)


def open_slow(settings: Settings) -> SlowModel:
    """Open the light model; on a node."""
    return SlowModel(find_model(settings.embedding), settings)


def open_other(_settings: Settings) -> object:
    """Open a model that is not the one that was asked for; on a node."""
    return SimpleNamespace(identity=SimpleNamespace(fingerprint="another"))
