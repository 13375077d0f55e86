"""Searches of a full table: through Footnote beside raw SQL that does the same, in turns, and beside exact search."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import asyncpg
from pgvector.asyncpg import register_vector

from benchmarks.figures import percentile
from benchmarks.store_load import HnswIndex
from benchmarks.store_truth import TOP, VALUES, filter_of
from benchmarks.synthetic_chunks import Question
from config.settings import RetrievalSettings
from storage import chunk_tables
from storage.database import Database
from storage.generation import Generation
from storage.search.search import ChunkSearch, SearchRequest, default_scan

Truths = Mapping[str | None, Sequence[set[int]]]
LISTS = (40, 64, 100, 200, 300, 400)  # lengths of HNSW's candidate list
WARM_UP = 20
FEWER = 50  # questions by words, which take longer
COLUMNS = f"""node_id, document_id, chunk_index, page, start_char, end_char, text,
    (metadata_ - ARRAY[{", ".join(f"'{key}'" for key in chunk_tables.RESERVED_KEYS)}])::text AS metadata"""


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of search."""

    name: str
    mode: Literal["hybrid", "vector", "keyword"]
    key: str | None = None


CASES = (
    Case("dense", "vector"),
    Case("dense, 2 %", "vector", "team"),
    Case("dense, 0.25 %", "vector", "customer"),
    Case("dense, 2 %, far from most questions", "vector", "shelf"),
    Case("dense, 2 %, by a range", "vector", "weight"),
    Case("hybrid", "hybrid"),
    Case("hybrid, 2 %", "hybrid", "team"),
    Case("hybrid, 0.25 %", "hybrid", "customer"),
    Case("keyword", "keyword"),
)


Search = Callable[[Case, Question, int], Awaitable[list[int]]]


class RawSearch:
    """What one would write by hand for asyncpg: one statement a kind of search, its settings set once."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], *, table: str) -> None:
        self._connection = connection
        self._table = table

    async def search(self, case: Case, question: Question, number: int) -> list[int]:
        """Return the ten best chunks' numbers."""
        values: list[object] = [question.embedding] if case.mode == "vector" else [question.text]
        if case.mode == "hybrid":
            values.append(question.embedding)
        where = "true"
        if case.key == "weight":
            where = "(metadata_ ->> 'weight')::int < 200"
        elif case.key:
            values.append(json.dumps({case.key: number % VALUES[case.key]}))
            where = f"metadata_ @> ${len(values)}::text::jsonb"
        rows = await self._connection.fetch(getattr(self, case.mode)(where), *values)
        return [_number(row["node_id"]) for row in rows if json.loads(row["metadata"])]

    def vector(self, where: str) -> str:
        """Return the statement of a dense search."""
        return f"""SELECT {COLUMNS}, 1 - (embedding <=> $1) AS score FROM {self._table}
            WHERE {where} ORDER BY embedding <=> $1 LIMIT {TOP}"""  # noqa: S608 (names of ours)

    def keyword(self, where: str) -> str:
        """Return the statement of a lexical search."""
        return f"""SELECT {COLUMNS}, ts_rank(text_search_tsv, query, 1) AS score FROM {self._table}, {_any_of("$1")}
            WHERE text_search_tsv @@ query AND {where} ORDER BY score DESC LIMIT {TOP}"""  # noqa: S608 (names of ours)

    def hybrid(self, where: str) -> str:
        """Return the statement of a hybrid search."""
        return f"""WITH dense AS (
                SELECT id, row_number() OVER (ORDER BY distance) AS rank FROM (
                    SELECT id, embedding <=> $2 AS distance FROM {self._table}
                    WHERE {where} ORDER BY embedding <=> $2 LIMIT 64) d
            ), lexical AS (
                SELECT id, row_number() OVER (ORDER BY score DESC) AS rank FROM (
                    SELECT id, ts_rank(text_search_tsv, query, 1) AS score FROM {self._table}, {_any_of("$1")}
                    WHERE text_search_tsv @@ query AND {where} ORDER BY score DESC LIMIT 64) l
            )
            SELECT {COLUMNS}, coalesce(1.0 / (60 + d.rank), 0) + coalesce(1.0 / (60 + l.rank), 0) AS score
            FROM dense d FULL JOIN lexical l USING (id) JOIN {self._table} USING (id)
            ORDER BY score DESC LIMIT {TOP}"""  # noqa: S608 (names of ours)


async def measure_search(
    database: Database, *, url: str, generation: Generation, questions: Sequence[Question], truths: Truths,
    settings: RetrievalSettings, cases: Sequence[Case] = CASES,
) -> dict[str, dict[str, float]]:  # fmt: skip
    """Ask each question in each way, of raw SQL and of Footnote in turns; return figures by case."""
    ours = ChunkSearch(database, generation=generation, settings=settings)

    async def footnote(case: Case, question: Question, number: int) -> list[int]:
        request = SearchRequest(
            case.mode, limit=TOP, embedding=question.embedding, text=question.text, filters=filter_of(case.key, number)
        )
        return [_number(hit.node_id) for hit in await ours.search(request)]

    connection = await connect(url, settings)
    try:
        raw = RawSearch(connection, table=chunk_tables.qualified(generation.id))
        sides = {"raw": raw.search, "footnote": footnote}
        figures: dict[str, dict[str, float]] = {}
        for case in cases:
            asked = questions if case.mode == "vector" else questions[:FEWER]
            figures[case.name] = await _in_turns(case, asked, truths[case.key], sides=sides)
        return figures
    finally:
        await connection.close()


async def _in_turns(
    case: Case, questions: Sequence[Question], right: Sequence[set[int]], *, sides: Mapping[str, Search]
) -> dict[str, float]:
    measured: dict[str, _Measured] = {side: _Measured() for side in sides}
    order = list(sides)
    for number in [*range(WARM_UP), *range(len(questions))]:
        order.reverse()
        for side in order:
            started = time.perf_counter()
            found = await sides[side](case, questions[number], number)
            measured[side].add(time.perf_counter() - started, found=found, right=right[number])
    figures: dict[str, float] = {}
    for side, these in measured.items():
        figures |= {f"{side}_{name}": value for name, value in these.figures().items()}
        if case.mode != "vector":
            del figures[f"{side}_recall"]
    print(f"{case.name}: {json.dumps(figures)}", flush=True)
    return figures


class _Measured:
    """Times and recalls of searches; the first ones warm caches up and do not count."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._recalls: list[float | None] = []

    def add(self, seconds: float, *, found: Sequence[int], right: set[int]) -> None:
        self._times.append(seconds * 1000)
        self._recalls.append(len(right & set(found)) / len(right) if right else None)

    def figures(self) -> dict[str, float]:
        """Return percentiles in milliseconds, and the mean share of the right chunks that were found."""
        times, recalls = self._times[WARM_UP:], [one for one in self._recalls[WARM_UP:] if one is not None]
        return {
            "p50": percentile(times, 0.5),
            "p95": percentile(times, 0.95),
            "recall": sum(recalls) / max(1, len(recalls)),
        }


async def measure_index(
    url: str, *, generation: Generation, index: HnswIndex, questions: Sequence[Question], truths: Truths
) -> dict[str, dict[str, float]]:
    """Search densely by raw SQL with candidate lists of several lengths, halves re-ranked; return figures by length."""
    dimension = generation.embedding.dimension
    table, half = chunk_tables.qualified(generation.id), f"embedding::halfvec({dimension})"
    near = f"{half} <=> $1::halfvec({dimension})" if index.kind == "halfvec" else "embedding <=> $1"
    statement = f"""SELECT node_id FROM (SELECT node_id, embedding FROM {table} ORDER BY {near} LIMIT $2) d
        ORDER BY embedding <=> $1 LIMIT {TOP}"""  # noqa: S608 (names of ours)
    figures = {}
    connection = await connect(url, RetrievalSettings())
    try:
        for ef_search in LISTS:
            await connection.execute(f"SET hnsw.ef_search = {ef_search}")
            measured = _Measured()
            for number in [*range(WARM_UP), *range(len(questions))]:
                started = time.perf_counter()
                rows = await connection.fetch(statement, questions[number].embedding, min(64, ef_search))
                took = time.perf_counter() - started
                measured.add(took, found=[_number(row["node_id"]) for row in rows], right=truths[None][number])
            figures[str(ef_search)] = measured.figures()
            print(f"{index} ef_search {ef_search}: {json.dumps(figures[str(ef_search)])}", flush=True)
    finally:
        await connection.close()
    return figures


async def connect(url: str, settings: RetrievalSettings) -> Any:  # noqa: ANN401 (asyncpg's stubs)
    """Return a plain connection with the settings that Footnote's pool has."""
    connection = await asyncpg.connect(
        url,
        server_settings={"jit": "off", **{name: str(value) for name, value in default_scan(settings).items()}},
    )
    await register_vector(connection)
    return connection


def _any_of(text: str) -> str:
    return f"(SELECT replace(plainto_tsquery('english', {text})::text, '&', '|')::tsquery AS query) q"


def _number(node_id: str) -> int:
    return UUID(node_id).int
