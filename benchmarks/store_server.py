"""``/retrieve`` of the running server over a full table, beside raw SQL through asyncpg, in turns.

Raw SQL is twice: what one would write by hand, and the statement that the server itself sends, with nothing around it.
The model that embeds questions is left out of both and timed apart.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.figures import percentile
from benchmarks.laboratory import Laboratory
from benchmarks.store_search import WARM_UP, Case, RawSearch, connect
from benchmarks.store_truth import TOP, filter_of
from benchmarks.synthetic_chunks import Question
from config.settings import RetrievalSettings
from embedding.opening import open_embedder
from storage import chunk_tables
from storage.generation import Generation
from storage.search.statement import SearchRequest, SearchStatement

CASES = (
    Case("dense", "vector"),
    Case("hybrid", "hybrid"),
    Case("keyword", "keyword"),
    Case("hybrid, 2 %", "hybrid", "team"),
)
DEPTH = 23  # what the server looks for to have ten without near-duplicates
OK = 200
Ask = Callable[[Case, Question, int], Awaitable[int]]


async def measure_server(
    laboratory: Laboratory, *, generation: Generation, questions: Sequence[Question], settings: RetrievalSettings
) -> dict[str, dict[str, float]]:
    """Ask each question in each way, of the server and of PostgreSQL in turns; return figures by case."""
    known = laboratory.folder / "questions.npz"
    vectors = np.stack([question.embedding for question in questions])
    np.savez(known, allow_pickle=False, texts=np.array([question.text for question in questions]), vectors=vectors)
    connection = await connect(laboratory.url, settings)
    try:
        with laboratory.serving("benchmarks.store_app", str(known), LLM__PROVIDER="extractive") as url:
            place = urlsplit(url)
            with closing(http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)) as client:
                sides = _sides(connection, client, generation=generation, settings=settings)
                return {case.name: await _in_turns(case, questions, sides) for case in CASES}
    finally:
        await connection.close()


async def embedding_time(laboratory: Laboratory, questions: Sequence[Question]) -> dict[str, float]:
    """Return how long the real model takes for a question, in milliseconds."""
    embedder = open_embedder(laboratory.settings())
    times: list[float] = []
    try:
        for question in questions:
            started = time.perf_counter()
            await embedder.query(question.text)
            times.append((time.perf_counter() - started) * 1000)
    finally:
        embedder.close()
    warm = times[WARM_UP:] or times
    return {"p50": percentile(warm, 0.5), "p95": percentile(warm, 0.95)}


def _sides(
    connection: Any,  # noqa: ANN401 (asyncpg's stubs)
    client: http.client.HTTPConnection,
    *,
    generation: Generation,
    settings: RetrievalSettings,
) -> Mapping[str, Ask]:
    raw = RawSearch(connection, table=chunk_tables.qualified(generation.id))

    async def by_hand(case: Case, question: Question, number: int) -> int:
        return len(await raw.search(case, question, number))

    async def statement(case: Case, question: Question, number: int) -> int:
        request = SearchRequest(
            case.mode,
            limit=DEPTH,
            embedding=question.embedding,
            text=question.text,
            filters=filter_of(case.key, number),
        )
        sent = SearchStatement(request, generation=generation, settings=settings)
        return len(await connection.fetch(sent.sql, *sent.parameters))

    async def server(case: Case, question: Question, number: int) -> int:
        filters = filter_of(case.key, number)
        body = {"question": question.text, "collection": "store", "mode": case.mode, "k": TOP, "min_score": 0}
        if filters:
            body["filters"] = filters.model_dump(mode="json")
        client.request("POST", "/retrieve", json.dumps(body), {"Content-Type": "application/json"})
        response = client.getresponse()
        read = response.read()
        if response.status != OK:
            raise RuntimeError(read[:500])
        return len(json.loads(read)["results"])

    return {"raw": by_hand, "statement": statement, "server": server}


async def _in_turns(case: Case, questions: Sequence[Question], sides: Mapping[str, Ask]) -> dict[str, float]:
    times: dict[str, list[float]] = {side: [] for side in sides}
    order = list(sides)
    for number in [*range(WARM_UP), *range(len(questions))]:
        order.append(order.pop(0))
        for side in order:
            started = time.perf_counter()
            found = await sides[side](case, questions[number], number)
            times[side].append((time.perf_counter() - started) * 1000)
            if not found:
                print(f"{case.name}, {side}: nothing found for question {number}", flush=True)
    figures = {
        f"{side}_{name}": percentile(these[WARM_UP:], share)
        for side, these in times.items()
        for name, share in (("p50", 0.5), ("p95", 0.95))
    }
    print(f"{case.name}: {json.dumps(figures)}", flush=True)
    return figures
