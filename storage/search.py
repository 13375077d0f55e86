"""Search over a generation's chunks: a dense leg, a lexical leg, and their fusion, in one statement.

Fusion is reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): a chunk scores the sum over the legs of
``weight / (rrf_k + rank)``, ranks from 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Union

from config.settings import RetrievalSettings
from storage import chunk_tables
from storage.collections import Generation
from storage.filters import FilterGroup, Parameters, compile_filters

if TYPE_CHECKING:
    import asyncpg
    import numpy as np
    from numpy.typing import NDArray

    from storage.database import Database

Vector = Union[Sequence[float], "NDArray[np.float32]"]
MAX_LEXEMES = 64  # of a question; the rest of a very long one adds cost and no aim
MAX_EF_SEARCH = 1000  # pgvector's limit
_COLUMNS = "c.node_id, c.document_id, c.chunk_index, c.page, c.start_char, c.end_char, c.text"


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What to look for.

    Attributes:
        embedding: of the question; needed by the legs ``hybrid`` and ``vector``.
        text: of the question; needed by ``hybrid`` and ``keyword``.
        limit: chunks wanted.
        min_score: least cosine similarity; 0 is no bar, and the mode ``keyword`` has none.

    """

    mode: Literal["hybrid", "vector", "keyword"]
    limit: int
    embedding: Vector | None = None
    text: str | None = None
    filters: FilterGroup | None = None
    document_ids: Sequence[str] | None = None
    node_ids: Sequence[str] | None = None
    min_score: float = 0.0


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk that was found; `scores` holds ``dense`` (cosine), ``lexical`` (ts_rank), ``fused``, where they apply."""

    node_id: str
    document_id: str
    chunk_index: int
    page: int | None
    start: int
    end: int
    text: str
    metadata: dict[str, object]
    score: float
    scores: Mapping[str, float]


def usual_scan(settings: RetrievalSettings, *, candidates: int = 0) -> dict[str, str | int]:
    """Return how the HNSW index is to be scanned, for `Database.open`: a search that wants no more needs one statement.

    Without an iterative scan, a filter would be applied to ``ef_search`` rows and leave a few of them.
    """
    return {
        "hnsw.ef_search": min(MAX_EF_SEARCH, max(settings.ef_search, settings.candidates, candidates)),
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": settings.max_scan_tuples,
    }


class ChunkSearch:
    """Searches one generation."""

    def __init__(self, database: Database, *, generation: Generation, settings: RetrievalSettings) -> None:
        self._database = database
        self._generation = generation
        self._settings = settings
        self._table = chunk_tables.qualified(generation.id)

    async def search(self, request: SearchRequest) -> list[Hit]:
        """Return the best chunks, best first.

        Raises:
            UnsupportedFilter: a filter cannot be honoured.

        """
        candidates = max(self._settings.candidates, request.limit)
        parameters = Parameters()
        where = self._where(request, parameters)
        statement = self._statement(request, parameters, where=where, candidates=candidates)
        async with self._database.tuned(self._scan(request, where, candidates)) as connection:
            rows = await connection.fetch(statement, *parameters.values)
        leg = {"hybrid": "fused", "vector": "dense", "keyword": "lexical"}[request.mode]
        return [_hit(row, leg=leg) for row in rows]

    def _scan(self, request: SearchRequest, where: str, candidates: int) -> dict[str, str | int]:
        if request.mode == "keyword":
            return {}
        wanted = usual_scan(self._settings, candidates=candidates)
        if where == "true":
            del wanted["hnsw.iterative_scan"], wanted["hnsw.max_scan_tuples"]
        return wanted

    def _where(self, request: SearchRequest, parameters: Parameters) -> str:
        parts = []
        if request.document_ids is not None:
            parts.append(f"document_id = ANY({parameters.bind(list(request.document_ids), 'text[]')})")
        if request.node_ids is not None:
            parts.append(f"node_id = ANY({parameters.bind(list(request.node_ids), 'text[]')})")
        if request.filters is not None and request.filters.filters:
            parts.append(compile_filters(request.filters, parameters))
        return " AND ".join(parts) or "true"

    def _statement(self, request: SearchRequest, parameters: Parameters, *, where: str, candidates: int) -> str:
        limit = parameters.bind(request.limit, "int")
        depth = parameters.bind(candidates, "int")
        legs, union = [], []
        if request.mode != "keyword":
            vector = parameters.bind(request.embedding, "vector")
            legs.append(self._dense(vector, where=where, depth=depth))
            union.append(self._leg("dense", "NULL::float8", self._settings.dense_weight, parameters))
            dense = f"1 - (c.embedding <=> {vector})"
        else:
            dense = "NULL::float8"
        bar = "true"
        if request.mode != "keyword" and request.min_score > 0:
            bar = f"{dense} >= {parameters.bind(request.min_score, 'float8')}"
        if request.mode != "vector":
            legs.append(self._lexical(parameters.bind(request.text, "text"), where=where, depth=depth))
            union.append(self._leg("lexical", "score", self._settings.lexical_weight, parameters))
        reserved = ", ".join(f"'{key}'" for key in chunk_tables.RESERVED_KEYS)
        return f"""
            WITH {", ".join(legs)}, fused AS (
                SELECT id, sum(weight) AS fused, max(lexical) AS lexical FROM ({" UNION ALL ".join(union)}) u
                GROUP BY id
            )
            SELECT {_COLUMNS}, (c.metadata_ - ARRAY[{reserved}])::text AS metadata,
                {dense} AS dense, f.lexical, f.fused
            FROM fused f JOIN {self._table} c USING (id) WHERE {bar} ORDER BY f.fused DESC, c.id LIMIT {limit}"""

    def _dense(self, vector: str, *, where: str, depth: str) -> str:
        # the inner order is the index's (relaxed, where it scans on), the outer one is exact
        return f"""dense AS MATERIALIZED (
            SELECT id, row_number() OVER (ORDER BY distance, id) AS rank FROM (
                SELECT id, embedding <=> {vector} AS distance FROM {self._table}
                WHERE {where} ORDER BY embedding <=> {vector} LIMIT {depth}) d)"""

    def _lexical(self, text: str, *, where: str, depth: str) -> str:
        language = f"'{self._generation.chunking.language}'::regconfig"
        return f"""terms AS MATERIALIZED (
            SELECT string_agg('''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''', ' | ')::tsquery
                AS any_of
            FROM (
                SELECT lexeme FROM unnest(to_tsvector({language}, {text})) ORDER BY positions[1] LIMIT {MAX_LEXEMES}) l
        ), lexical AS MATERIALIZED (
            SELECT id, score, row_number() OVER (ORDER BY score DESC, id) AS rank FROM (
                SELECT id, ts_rank(text_search_tsv, (SELECT any_of FROM terms), 1)::float8 AS score FROM {self._table}
                WHERE text_search_tsv @@ (SELECT any_of FROM terms) AND {where}
                ORDER BY score DESC, id LIMIT {depth}) l)"""

    def _leg(self, name: str, score: str, weight: float, parameters: Parameters) -> str:
        weight_ = parameters.bind(weight, "float8")
        rrf_k = parameters.bind(self._settings.rrf_k, "int")
        return f"SELECT id, {weight_} / ({rrf_k} + rank) AS weight, {score} AS lexical FROM {name}"


def _hit(row: asyncpg.Record, *, leg: str) -> Hit:
    names = ("dense", "lexical", "fused") if leg == "fused" else (leg,)
    scores = {name: float(row[name]) for name in names if row[name] is not None}
    return Hit(
        node_id=row["node_id"],
        document_id=row["document_id"],
        chunk_index=row["chunk_index"],
        page=row["page"],
        start=row["start_char"],
        end=row["end_char"],
        text=row["text"],
        metadata=json.loads(row["metadata"]),
        score=scores[leg],
        scores=scores,
    )
