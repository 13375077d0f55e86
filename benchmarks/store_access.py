"""Searches under documents' readers: recall and cost, beside the same filter asked by a caller who sees all.

A group of readers reads the same documents that its filter leaves, see `benchmarks.store_readers`; the two sides take
turns, each on a connection of its own, whose processor time the kernel tells in nanoseconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from benchmarks.figures import percentile, table
from benchmarks.store_readers import GROUPS
from benchmarks.store_truth import TOP, filter_of
from benchmarks.synthetic_chunks import Question
from config.settings import Settings
from storage.caller import LOCAL, Caller, acting_as
from storage.database import Database
from storage.generation import DEFAULT_TENANT, Generation
from storage.search.search import ChunkSearch, SearchRequest, default_scan

WARM_UP = 20
SIDES = "filter", "readers"
MODES: tuple[Literal["vector", "hybrid"], ...] = ("vector", "hybrid")
WHOLE = "all"
SEVENTH = 7  # in hybrid mode each seventh question is enough


@dataclass(slots=True)
class _Asked:
    """What one side took and found, question by question."""

    ms: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    recall: list[float] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        return {
            "recall": sum(self.recall) / max(1, len(self.recall)),
            "worst": min(self.recall, default=0.0),
            **{f"{what}_{name}": percentile(each, share)
               for what, each in (("ms", self.ms), ("cpu", self.cpu)) for name, share in (("p50", 0.5), ("p95", 0.95))},
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Side:
    """One connection's searches; `backend` is where the kernel tells what its process took."""

    database: Database
    search: ChunkSearch
    backend: Path

    async def ask(self, request: SearchRequest, who: Caller, *, right: set[int], into: _Asked | None) -> None:
        """Search as somebody; note what it took and which of the right chunks were found."""
        began, started = self.cpu(), time.perf_counter()
        with acting_as(who):
            found = {UUID(hit.node_id).int for hit in await self.search.search(request)}
        if into is not None:
            into.ms.append((time.perf_counter() - started) * 1000)
            into.cpu.append(self.cpu() - began)
            into.recall += [len(right & found) / len(right)] if right else []

    def cpu(self) -> float:
        """Return the milliseconds of a processor that the connection's process has had."""
        return int(self.backend.read_text().split()[0]) / 1e6


async def measure_access(
    url: str, *, settings: Settings, generation: Generation, questions: Sequence[Question],
    truths: Mapping[str | None, Sequence[set[int]]],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Ask each question in each mode as each group and, in turns, with the filter; return figures by mode and group."""
    figures: dict[str, dict[str, Any]] = {}
    async with open_side(url, settings, generation) as left, open_side(url, settings, generation) as right:
        sides = dict(zip(SIDES, (left, right), strict=True))
        for mode in MODES:
            asked = questions if mode == "vector" else questions[::SEVENTH]
            stride = 1 if mode == "vector" else SEVENTH
            for group in (WHOLE, *GROUPS):
                key = None if group == WHOLE else group
                these = figures[f"{mode} {group}"] = await _in_turns(
                    sides, mode=mode, key=key, questions=asked, truth=truths[key][::stride]
                )
                print(f"{mode} {group}: {json.dumps(these)}", flush=True)
    return figures


async def _in_turns(
    sides: Mapping[str, Side], *, mode: Literal["vector", "hybrid"], key: str | None,
    questions: Sequence[Question], truth: Sequence[set[int]],
) -> dict[str, dict[str, float]]:  # fmt: skip
    asked = {name: _Asked() for name in sides}
    order = list(sides)
    warming = range(min(WARM_UP, len(questions)))
    for is_counted, numbers in ((False, warming), (True, range(len(questions)))):
        for number in numbers:
            order.reverse()
            for name in order:
                request, who = _request(name, mode, key, questions[number], number)
                into = asked[name] if is_counted else None
                await sides[name].ask(request, who, right=truth[number], into=into)
    return {name: each.figures() for name, each in asked.items()}


def _request(
    side: str, mode: Literal["vector", "hybrid"], key: str | None, question: Question, number: int
) -> tuple[SearchRequest, Caller]:
    limited = side == "readers" and key is not None
    who = Caller(DEFAULT_TENANT, "reader", groups=(str(key),)) if limited else LOCAL
    request = SearchRequest(
        mode,
        limit=TOP,
        embedding=question.embedding,
        text=question.text,
        filters=None if limited else filter_of(key, number),
    )
    return request, who


@asynccontextmanager
async def open_side(url: str, settings: Settings, generation: Generation) -> AsyncIterator[Side]:
    """Open a database of one connection."""
    single = settings.database.model_copy(update={"pool_min": 1, "pool_max": 1})
    database = await Database.open(url, settings=single, session=default_scan(settings.retrieval))
    try:
        async with database.connection() as connection:
            backend = await connection.fetchval("SELECT pg_backend_pid()")
        search = ChunkSearch(database, generation=generation, settings=settings.retrieval)
        yield Side(database, search, Path(f"/proc/{backend}/schedstat"))
    finally:
        await database.close()


def access_table(figures: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Return the figures as a table: what the filter finds and takes, what readers do, and the ratios."""
    return table(
        [
            "asked as", "recall@10, filter", "readers",
            "p50 ms, filter", "readers", "p95 ms, filter", "readers", "ratio",
            "CPU p50 ms, filter", "readers", "CPU p95 ms, filter", "readers", "ratio",
        ],
        [
            [
                name,
                *(one[side]["recall"] if name.startswith("vector") else "" for side in SIDES),
                *(one[side][f"ms_{share}"] for share in ("p50", "p95") for side in SIDES),
                one["readers"]["ms_p95"] / one["filter"]["ms_p95"],
                *(one[side][f"cpu_{share}"] for share in ("p50", "p95") for side in SIDES),
                one["readers"]["cpu_p95"] / one["filter"]["cpu_p95"],
            ]
            for name, one in figures.items()
        ],
    )  # fmt: skip
