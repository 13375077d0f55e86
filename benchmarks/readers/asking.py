"""Asks the tools, each in a process of its own with a time limit, and keeps their answers as lines of JSON."""

from __future__ import annotations

import hashlib
import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.readers.tools import TOOLS, reads

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("tools.py")
SECONDS = 120.0  # for one file; then the tool is ended, and it counts as failed
MISSING = ("ModuleNotFoundError: ", "ImportError: ", "FileNotFoundError: ", "MissingDependencyException: ")


@dataclass(frozen=True)
class Answer:
    """What a tool made of a file.

    Attributes:
        texts: of the file's pages, or of the whole; empty if it failed.
        failed: why; empty if it did not.
        seconds: of reading, imports left out.
        megabytes: the most memory of its process while it read.
        version: of the tool.

    """

    texts: tuple[str, ...] = ()
    failed: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0
    version: str = ""

    @property
    def text(self) -> str:
        """Return the whole text."""
        return "\n".join(self.texts)


class Kept:
    """Answers in a file, so that a run that was ended goes on where it was; Footnote's count for the code as it is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._code = hash_of(sorted((ROOT / "ingestion").rglob("*.py")))
        lines = file.read_text().splitlines() if file.exists() else []
        self._answers = {(line["tool"], line["file"], line["code"]): line["answer"] for line in map(json.loads, lines)}

    def find(self, tool: str, path: Path) -> Answer | None:
        """Return a tool's answer about a file, if it was asked before."""
        found = self._answers.get(self._key(tool, path))
        return _answer(found) if found else None

    def add(self, tool: str, path: Path, answer: dict[str, Any]) -> None:
        """Keep an answer."""
        name, file, code = key = self._key(tool, path)
        self._answers[key] = answer
        with self._file.open("a") as out:
            out.write(json.dumps({"tool": name, "file": file, "code": code, "answer": answer}) + "\n")

    def _key(self, tool: str, path: Path) -> tuple[str, str, str]:
        return tool, f"{path.name}:{hash_of([path])}", self._code if tool == "Footnote" else ""


def ask_all(paths: Sequence[Path], *, kept: Kept, pythons: Sequence[str]) -> Iterator[tuple[str, Path, Answer]]:
    """Ask each tool about the files that it reads; say which tools are missing, and how to get them."""
    for tool in TOOLS:
        wanted = [path for path in paths if reads(tool, path)]
        asked = [path for path in wanted if kept.find(tool, path) is None]
        if asked and not _ask(tool, asked, kept, pythons):
            print(f"{tool}: left out; to have it, {TOOLS[tool].install}", file=sys.stderr, flush=True)
        yield from ((tool, path, answer) for path in wanted if (answer := kept.find(tool, path)))


def _ask(tool: str, paths: Sequence[Path], kept: Kept, pythons: Sequence[str]) -> bool:
    """Ask the first Python that has the tool; return whether one has."""
    for python in [sys.executable] if tool == "Footnote" else pythons:
        process = _Process(tool, python)
        try:
            if str(process.ask(paths[0]).get("failed", "")).startswith(MISSING):
                continue
            for path in _grouped(paths, process):
                kept.add(tool, path, process.ask(path))
        finally:
            process.end()
        return True
    return False


def _grouped(paths: Sequence[Path], process: _Process) -> Iterator[Path]:
    """Return the files by kind; a kind's first file is read once before, so that imports cost nobody time."""
    kind = ""
    for path in sorted(paths, key=lambda path: path.suffix):
        if path.suffix != kind:
            kind = path.suffix
            process.ask(path)
        yield path


class _Process:
    """A tool's process; it is started anew after a file that it did not survive."""

    def __init__(self, tool: str, python: str) -> None:
        self._command = [python, str(PROGRAM), tool]
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )

    def ask(self, path: Path) -> dict[str, Any]:
        """Return a tool's answer."""
        assert self._process.stdin is not None  # noqa: S101 (for the types)
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.stdin.write(f"{path.resolve()}\n".encode())
            self._process.stdin.flush()
            ready = select.select([self._process.stdout], [], [], SECONDS)[0]
            if ready and (line := self._process.stdout.readline()):
                return dict(json.loads(line))
        except BrokenPipeError:
            ready = [self._process.stdout]
        self.end()
        self._process = self._start()
        return {"failed": "its process ended" if ready else f"it took longer than {SECONDS:.0f} s"}

    def end(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


def _answer(found: dict[str, Any]) -> Answer:
    found = dict(found)
    texts = found.pop("texts", [])
    return Answer(texts=tuple([texts] if isinstance(texts, str) else texts), **found)


def hash_of(files: Sequence[Path]) -> str:
    """Return a short hash of the files' bytes."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
