"""Search over a generation's chunks: a dense leg, a lexical leg, and their fusion, in one statement.

Fusion is reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009): a chunk scores the sum over the legs of
``weight / (rrf_k + rank)``, ranks from 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from config.settings import RetrievalSettings
from storage.caller import caller
from storage.generation import Generation
from storage.search.breadth import broad_filters
from storage.search.readability import count_documents, readable_documents
from storage.search.statement import CANDIDATES, SearchRequest, SearchStatement, Vector, filter_key

if TYPE_CHECKING:
    import asyncpg

    from storage.database import Database

__all__ = ["ChunkSearch", "Hit", "SearchRequest", "Vector", "default_scan"]
MAX_EF_SEARCH = 1000  # pgvector's limit
MAX_SCAN_TUPLES = 20_000
"""Rows of the HNSW index that a filtered search visits before it compares all matching chunks one by one."""
RANDOM_PAGE_COST = "1.1"
"""What a page of an index costs beside one of a table read in sequence; PostgreSQL's 4 is meant for turning disks.

PostgreSQL thinks that comparing all chunks costs no more than reading their rows; that their vectors lie apart from
them, and take most of the time, it leaves out. With 4 it compared 10,000 vectors one by one where the HNSW index
takes a tenth of the time.
"""


@dataclass(frozen=True, slots=True)
class Hit:
    """A chunk found; `scores` may have ``dense`` (cosine), ``lexical`` (BM25) and ``fused``.

    Attributes:
        ranks: by the same names, from 1, among what either leg found; only where the request asked for an explanation.
        is_below: it is below the bar, and returned for the explanation alone.

    """

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
    ranks: Mapping[str, int] = field(default_factory=dict)
    is_below: bool = False


def default_scan(
    settings: RetrievalSettings, *, candidates: int = CANDIDATES, max_scan_tuples: int = MAX_SCAN_TUPLES
) -> dict[str, str | int]:
    """Return how the HNSW index is scanned, for `Database.open`: a search that needs no more takes one statement.

    Without an iterative scan, a filter would be applied to ``ef_search`` rows and leave a few of them. For the cost of
    a page see `RANDOM_PAGE_COST`.
    """
    return {
        "hnsw.ef_search": min(MAX_EF_SEARCH, max(settings.ef_search, candidates)),
        "hnsw.iterative_scan": "relaxed_order",
        "hnsw.max_scan_tuples": max_scan_tuples,
        "random_page_cost": RANDOM_PAGE_COST,
    }


class ChunkSearch:
    """Searches one generation.

    Args:
        database: that holds it.
        generation: to search.
        settings: weights of the fusion, and ``ef_search``.
        candidates: chunks that each leg hands to the fusion, at least.
        max_scan_tuples: see `MAX_SCAN_TUPLES`.

    """

    def __init__(
        self,
        database: Database,
        *,
        generation: Generation,
        settings: RetrievalSettings,
        candidates: int = CANDIDATES,
        max_scan_tuples: int = MAX_SCAN_TUPLES,
    ) -> None:
        self._candidates = candidates
        self._max_scan_tuples = max_scan_tuples
        self._database = database
        self._generation = generation
        self._settings = settings

    async def search(self, request: SearchRequest) -> list[Hit]:
        """Return the best chunks, in order; with `explains`, those below the bar after them.

        Raises:
            UnsupportedFilter: a filter cannot be honoured.

        """
        who, known = caller(), broad_filters(self._database)
        key = filter_key(request, self._generation, who)
        documents = await count_documents(self._database, self._generation, who, known=known)
        is_filtered = request.is_filtered or not (who is None or who.sees_all)
        async with self._database.tuned(self._scan(request, is_filtered=is_filtered)) as connection:
            statement = SearchStatement(
                request,
                generation=self._generation,
                settings=self._settings,
                candidates=self._candidates,
                chunks=await known.chunks(connection, self._generation) if is_filtered else 0,
                is_broad=key in known,
                readable=await readable_documents(connection, self._generation, who, known=known, documents=documents),
            )
            rows = await connection.fetch(statement.sql, *statement.parameters)
        if rows and rows[0]["is_broad"]:
            known.add(key)
        leg = {"hybrid": "fused", "vector": "dense", "keyword": "lexical"}[request.mode]
        return [_hit(row, leg=leg, explains=request.explains) for row in rows]

    def _scan(self, request: SearchRequest, *, is_filtered: bool) -> dict[str, str | int]:
        if request.mode == "keyword":
            return {}
        candidates = max(self._candidates, request.limit)
        wanted = default_scan(self._settings, candidates=candidates, max_scan_tuples=self._max_scan_tuples)
        if not is_filtered:
            del wanted["hnsw.iterative_scan"], wanted["hnsw.max_scan_tuples"]
        return wanted


def _hit(row: asyncpg.Record, *, leg: str, explains: bool) -> Hit:
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
        ranks=_ranks(row, scores) if explains else {},
        is_below=explains and row["is_below"],
    )


def _ranks(row: asyncpg.Record, scores: Mapping[str, float]) -> dict[str, int]:
    places = {"dense": row["by_meaning"], "lexical": row["by_words"], "fused": row["place"]}
    return {name: int(places[name]) for name in scores}
