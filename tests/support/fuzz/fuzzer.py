"""Damages the files of a corpus for a bounded time, reads them in the reading process, and keeps what is found."""

from __future__ import annotations

import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Protocol

from support.fuzz.mutations import Mutated, mutated
from support.fuzz.verdicts import Finding, Original, judge, original

from ingestion.types import Parsed, Skipped

ENDING = {"crash", "time", "memory"}
"""Findings with which the reading process ends."""
MOST_ALIKE = 5  # findings of one kind and reason that are kept, for each ending


class Reads(Protocol):
    """What reads a file in a process of its own."""

    async def parse(self, path: Path) -> Parsed | Skipped:
        """Return what is read, or why it is not."""


@dataclass
class Report:
    """What a run has found.

    Attributes:
        tried: files read, by ending.
        refused: of those, by ending.
        found: every finding that was kept, as a line of JSON has it.

    """

    tried: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    found: list[dict[str, object]] = field(default_factory=list)


class Fuzzer:
    """Reads damaged files by a parser, whose time and memory are the bounds; findings come into a folder."""

    def __init__(self, files: Mapping[str, bytes], *, parser: Reads, folder: Path) -> None:
        self._files = files
        self._parser = parser
        self._folder = folder
        self._originals: dict[str, Original] = {}
        self._seen: Counter[tuple[str, str, str]] = Counter()
        self.report = Report()

    async def run(self, *, seconds: float, seed: int, watch: Callable[[str], None] = lambda _: None) -> Report:
        """Try so many seconds for each ending, in the order of seeds from this one on."""
        for suffix, names in self._by_suffix():
            await self._original(names[0])  # imports take seconds, which are not those of fuzzing
            ends, number = time.monotonic() + seconds, seed
            while time.monotonic() < ends:
                await self.case(random.Random(number).choice(names), seed=number)  # noqa: S311 (to be made again)
                number += 1
            watch(f"{suffix}: {self.report.tried[suffix]} tried, {self.report.refused[suffix]} refused")
        return self.report

    async def case(self, name: str, *, seed: int) -> Finding | None:
        """Damage a file by a seed, read it, and judge."""
        suffix = PurePath(name).suffix
        changed = self.make(name, seed=seed)
        before = await self._original(name)
        path = self._folder / f"case{suffix}"
        path.write_bytes(changed.data)
        read = await self._parser.parse(path)
        self.report.tried[suffix] += 1
        self.report.refused[suffix] += hasattr(read, "reason")
        finding = judge(read, mutated=changed, original=before)
        if finding:
            if finding.kind in ENDING:
                self._originals.clear()  # so that the new process reads an original first, and imports
            self._keep(finding, name, seed=seed, changed=changed)
        return finding

    def make(self, name: str, *, seed: int) -> Mutated:
        """Return a damaged file; the same for the same seed and corpus."""
        suffix = PurePath(name).suffix
        others = [data for other, data in sorted(self._files.items()) if other.endswith(suffix) and other != name]
        return mutated(self._files[name], suffix, seed=seed, others=others)

    async def _original(self, name: str) -> Original:
        if name not in self._originals:
            path = self._folder / f"original{PurePath(name).suffix}"
            path.write_bytes(self._files[name])
            self._originals[name] = original(await self._parser.parse(path))
        return self._originals[name]

    def _by_suffix(self) -> Iterator[tuple[str, list[str]]]:
        groups: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self._files):
            groups[PurePath(name).suffix].append(name)
        yield from sorted(groups.items())

    def _keep(self, finding: Finding, name: str, *, seed: int, changed: Mutated) -> None:
        suffix = PurePath(name).suffix
        path = self._folder / "findings" / f"{finding.kind.replace(' ', '-')}-{seed}-{name.replace('/', '-')}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(changed.data)
        alike = (suffix, finding.kind, finding.detail if finding.kind == "exception" else name)
        self._seen[alike] += 1
        if self._seen[alike] > MOST_ALIKE:
            path.unlink()
            return
        line = {"kind": finding.kind, "file": name, "seed": seed, "mutation": changed.what, "detail": finding.detail,
                "saved": str(path)}  # fmt: skip
        self.report.found.append(line)
        with (self._folder / "findings.jsonl").open("a") as out:
            out.write(json.dumps(line) + "\n")
