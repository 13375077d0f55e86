"""The SQL statement of a search: dense leg, lexical leg and fusion.

The dense leg depends on the selectivity of the filter, which the statement itself finds out:

- No filter: the HNSW index.
- A filter that another index supports (ids, ``==``, ``in`` and the like): matching chunks are fetched, up to
  `most_exact`. If there are no more, they are compared one by one: exact, and faster than an HNSW scan for few.
- Otherwise the HNSW index is scanned until enough chunks match. If it gives up earlier (``hnsw.max_scan_tuples``), all
  matching chunks are compared one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Literal, Union

from config.settings import RetrievalSettings
from storage import chunk_tables
from storage.search.breadth import Key
from storage.search.filters import FilterGroup, Parameters, compile_filters
from storage.search.index_filters import compile_index_filter, is_exact
from storage.search.lexical_leg import LexicalLeg
from storage.search.readability import many_documents, readable_condition

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from storage.caller import Caller
    from storage.generation import Generation
    from storage.search.readability import Readable

Vector = Union[Sequence[float], "NDArray[np.float32]"]
EXACT_ROWS = 3000
"""Chunks that are compared one by one rather than by HNSW, in any table; see `most_exact`."""
SMALL = 22_500  # chunks of a table for which the rule gives no more than `EXACT_ROWS`
CANDIDATES = 64  # chunks that each leg hands to the fusion, at least
SPARE = 1.25  # factor of chunks that a filtered scan finds beyond the limit
SPARE_OF_MANY = 4
"""The same where a caller may read many documents but not all.

Where these are whole topics, the nearest chunks of a question may all be hidden: what a scan then finds first lies at
the far end of its candidate list, where the index knows few, and nearer ones come with the next list.
"""
FLOOR_DEVIATIONS = 1.5
"""How far the floor of the cosines lies below the candidates' mean, see `SearchStatement._fused`."""
COLUMNS = "c.node_id, c.document_id, c.chunk_index, c.page, c.start_char, c.end_char, c.text"
RESERVED = ", ".join(f"'{key}'" for key in chunk_tables.RESERVED_KEYS)


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search request.

    Attributes:
        embedding: of the question; needed by the legs ``hybrid`` and ``vector``.
        text: of the question; needed by ``hybrid`` and ``keyword``.
        limit: maximum number of chunks.
        min_score: minimum cosine similarity, 0 for none; the mode ``keyword`` ignores it.
        full_match_skips_min_score: in the mode ``hybrid``, whether chunks with every word of the question are returned
            whatever their similarity.
        explains: whether chunks below `min_score` are returned, too, behind the others and marked so, and each one's
            rank in each leg.

    """

    mode: Literal["hybrid", "vector", "keyword"]
    limit: int
    embedding: Vector | None = None
    text: str | None = None
    filters: FilterGroup | None = None
    document_ids: Sequence[str] | None = None
    node_ids: Sequence[str] | None = None
    min_score: float = 0.0
    full_match_skips_min_score: bool = False
    explains: bool = False

    @property
    def is_filtered(self) -> bool:
        """Whether there is a filter."""
        has_filters = self.filters is not None and bool(self.filters.filters)
        return has_filters or self.document_ids is not None or self.node_ids is not None


def most_exact(chunks: int) -> int:
    """Return up to how many chunks of a filter are compared one by one, in a table of so many.

    Comparing takes some 5 µs a chunk; a scan of HNSW takes longer the smaller the share that it looks for, in
    proportion to its inverse. So they meet at a multiple of the table's square root (docs/document-access.md): at
    20,000 of a million both took 0.1 s, and the scan found 0.91 of what was right.
    """
    return isqrt(400 * chunks) if chunks > SMALL else EXACT_ROWS


class SearchStatement:
    """The statement for one request; `parameters` are bound to it.

    Args:
        request: what is asked.
        generation: that is searched.
        settings: weights of the fusion.
        candidates: chunks that each leg hands to the fusion, at least.
        chunks: about how many there are in the generation; 0: unknown.
        is_broad: the filter is known to leave more than `most_exact` chunks, and they are not counted. Each row tells
            in ``is_broad`` whether it is.
        readable: the documents that the caller may read, see `storage.search.readability`.

    Raises:
        UnsupportedFilter: a filter cannot be honoured.

    """

    def __init__(
        self,
        request: SearchRequest,
        *,
        generation: Generation,
        settings: RetrievalSettings,
        candidates: int = CANDIDATES,
        chunks: int = 0,
        is_broad: bool = False,
        readable: Readable = "all",
    ) -> None:
        self._request = request
        self._candidates = candidates
        self._generation = generation
        self._settings = settings
        self._most_exact = most_exact(chunks)
        self._table = chunk_tables.qualified(generation.id)
        self._values = Parameters()
        self._readable = readable
        self._many = many_documents(generation)
        self._named = self._hashed = ""  # that a chunk's document is among those that may be read
        self._where, self._narrow = self._conditions()
        self._counts = self._narrow is not None and not is_broad
        self._is_filtered = self._where != "true"
        self._depth = self._wanted_of_a_leg()
        self._vector = "" if request.mode == "keyword" else self._values.bind(request.embedding, "vector")
        self._words: LexicalLeg | None = None
        if request.mode != "vector":
            self._words = LexicalLeg(
                request.text or "",
                generation=generation,
                values=self._values,
                depth=self._depth,
                limit=request.limit,
                readable=self._hashed or (self._many.exact if readable == "many" else None),
            )
        self.sql = self._sql()
        self.parameters = self._values.values

    def _wanted_of_a_leg(self) -> int:
        """Return the number of chunks for each leg; a single leg needs no more than the limit, as its order is final.

        A filtered HNSW scan has a relaxed order, and gets more to choose from.
        """
        request, candidates = self._request, self._candidates
        if request.mode == "hybrid":
            return max(candidates, request.limit)
        spare = SPARE_OF_MANY if self._readable == "many" else SPARE
        return max(request.limit, min(candidates, int(spare * request.limit))) if self._is_filtered else request.limit

    def _conditions(self) -> tuple[str, str | None]:
        """Return the exact condition, and a necessary one if an index other than HNSW supports it."""
        exact, served, request = [], [], self._request
        for column, ids in (("document_id", request.document_ids), ("node_id", request.node_ids)):
            if ids is not None:
                exact.append(f"{column} = ANY({self._values.bind(list(ids), 'text[]')})")
        served += exact
        if not isinstance(self._readable, str):
            ids = self._values.bind(list(self._readable), "text[]")
            self._named = f"document_id = ANY({ids})"
            self._hashed = readable_condition(self._readable, self._generation, ids=ids) or ""
            exact.append(self._hashed)
            served.append(self._named)
        if request.filters is not None and request.filters.filters:
            compiled = compile_filters(request.filters, self._values)
            narrow: str | None = compiled
            if not is_exact(request.filters):
                narrow = compile_index_filter(request.filters, self._values)
            # wrapped, it keeps the planner from an index of its own choice where HNSW is to be scanned
            exact.append(f"coalesce({compiled}, false)")
            served += [narrow] if narrow else []
            # a chunk's metadata are looked into once, if that tells all
            served += exact[-1:] if served and narrow != compiled else []
        if self._readable == "many":
            exact.append(self._many.exact)
            served += exact[-1:] if served else []
        return " AND ".join(exact) or "true", " AND ".join(served) or None

    def _sql(self) -> str:
        mode = self._request.mode
        parts = self._matching() if self._counts else []
        parts += [] if mode == "keyword" else self._dense()
        if self._words:
            parts += self._words.parts(where=self._of_candidates(), is_filtered=self._is_filtered, has_few=self._counts)
        if self._words and self._vector:
            parts += self._fused(self._words)
        is_broad = "NOT (SELECT are_all FROM few)" if self._counts else "false"
        ranks = ", b.is_below, b.by_meaning, b.by_words, b.place" if self._request.explains else ""
        parts.append(f"best AS MATERIALIZED ({self._best()} LIMIT {self._request.limit})")
        return f"""WITH {", ".join(parts)}
            SELECT {COLUMNS}, (c.metadata_ - ARRAY[{RESERVED}])::text AS metadata,
                1 - b.distance AS dense, b.lexical, b.fused, {is_broad} AS is_broad{ranks}
            FROM best b JOIN {self._table} c USING (id)
                JOIN footnote.documents d ON {chunk_tables.GATE.format(generation=int(self._generation.id))}
            WHERE (SELECT footnote.require_generation({int(self._generation.id)})) ORDER BY b.place"""

    def _matching(self) -> list[str]:
        # TOASTed vectors are not read here, only their references
        words = "" if self._request.mode == "vector" else ", term_weights, text_search_tsv"
        return [
            f"""matching AS MATERIALIZED (
                SELECT id, embedding{words} FROM {self._table}
                WHERE {self._narrow} LIMIT {self._most_exact + 1})""",
            f"few AS MATERIALIZED (SELECT count(*) <= {self._most_exact} AS are_all FROM matching)",
        ]

    def _dense(self) -> list[str]:
        distance = f"embedding <=> {self._vector}"
        near = chunk_tables.near(self._generation.embedding.dimension, self._vector)
        not_few = "NOT (SELECT are_all FROM few)" if self._counts else "true"
        legs = [
            f"""scanned AS MATERIALIZED (
            SELECT id, {distance} AS distance FROM {self._table}
            WHERE {self._where} AND {not_few} ORDER BY {near} LIMIT {self._depth})"""
        ]
        found = ["SELECT id, distance FROM scanned"]
        if self._is_filtered:
            # without an index for the filter this reads the whole table: only if the scan found too few
            least = self._depth if self._narrow else self._request.limit
            legs.append(f"""short AS MATERIALIZED (
                SELECT {not_few} AND count(*) < {least} AS is_short FROM scanned)""")
            # the sum keeps the planner from using the HNSW index, which gave too few, again
            found = [
                "SELECT id, distance FROM scanned WHERE NOT (SELECT is_short FROM short)",
                f"""(SELECT id, {distance} AS distance FROM {self._table}
                    WHERE (SELECT is_short FROM short) AND {self._unserved()}
                    ORDER BY ({distance}) + 0 LIMIT {self._depth})""",
            ]
        if self._counts:
            found.append(f"""(SELECT id, {distance} AS distance FROM matching
                WHERE (SELECT are_all FROM few) ORDER BY distance, id LIMIT {self._depth})""")
        # iterative scans have a relaxed order; this one is exact
        legs.append(f"""dense AS MATERIALIZED (
            SELECT id, distance, row_number() OVER (ORDER BY distance, id) AS rank
            FROM ({" UNION ALL ".join(found)}) d)""")
        return legs

    def _of_candidates(self) -> str:
        """Return the condition on rows that another index finds: many names are hashed, not compared one by one."""
        if self._narrow and self._named:
            return self._narrow.replace(self._named, self._hashed)
        return self._narrow or self._where

    def _unserved(self) -> str:
        """Return the condition for reading all rows that fulfil it."""
        return self._narrow or self._where.replace(self._many.exact, self._many.joined)

    def _fused(self, words: LexicalLeg) -> list[str]:
        """Score the chunks of each leg by both, and fuse the ranks.

        A chunk that only one leg found is ranked in the other, too, as an HNSW index does not find all.

        In the mean of both scores, a cosine counts from a floor: models differ in what they give to unrelated texts,
        some 0 and some 0.8, and so do languages. It is found among the candidates, and these are what the caller may
        read. The lexical leg counts in full if a chunk has the question's words, and the less the fewer of them any
        has: the best chunk by words has the highest score even if all that it shares with the question is "who". Where
        it counts in full, cosines count from 0: those of a model that cannot read a language must not outdo words.
        """
        settings, bind = self._settings, self._values.bind
        share = bind(settings.combined_dense_share, "float8")
        together = f"""{share} * coalesce((1 - distance - floor) / nullif(nearest - floor, 0), 0)
            + (1 - {share}) * coalesce(score / nullif(most, 0), 0) * covered"""
        rrf_k = bind(settings.rrf_k, "int")
        summands = [
            f"{bind(weight, 'float8')} * {factor} / ({rrf_k} + CASE WHEN {condition} THEN {rank} END)"
            for weight, factor, condition, rank in (
                (settings.dense_weight, "1", f"by_meaning <= {self._depth}", "by_meaning"),
                (settings.lexical_weight, "covered", f"score > 0 AND by_words <= {self._depth}", "by_words"),
                (settings.combined_weight, "1", "true", "by_both"),
            )
        ]
        is_spared = "false"
        if self._request.full_match_skips_min_score and self._request.min_score > 0:
            is_spared = words.holds_all("text_search_tsv")
        ranks = ", by_meaning, by_words" if self._request.explains else ""
        return [
            f"""judged AS MATERIALIZED (
                SELECT id, nullif(embedding <=> {self._vector}, 'NaN') AS distance, {words.score} AS score,
                    {words.holds("text_search_tsv")} AS holds, {is_spared} AS is_spared
                FROM (SELECT id FROM dense UNION SELECT id FROM lexical) f JOIN {self._table} USING (id))""",
            f"""scale AS MATERIALIZED (
                SELECT nearest, most, covered, (1 - power(covered, 4)) * unrelated AS floor
                FROM (SELECT max(1 - distance) AS nearest, max(score) AS most,
                    avg(1 - distance) - {FLOOR_DEVIATIONS} * stddev_pop(1 - distance) AS unrelated,
                    coalesce(least(1, max(score) / nullif({words.whole}, 0)), 1) AS covered FROM judged) s)""",
            f"""ranked AS MATERIALIZED (
                SELECT *, row_number() OVER (ORDER BY distance, id) AS by_meaning,
                    row_number() OVER (ORDER BY holds DESC, score DESC, id) AS by_words,
                    row_number() OVER (ORDER BY together DESC NULLS LAST, id) AS by_both
                FROM (SELECT *, CASE WHEN distance IS NOT NULL THEN {together} END AS together
                    FROM judged CROSS JOIN scale) j)""",
            f"""fused AS MATERIALIZED (
                SELECT id, distance, nullif(score, 0) AS lexical, holds, is_spared, by_both{ranks},
                    {" + ".join(f"coalesce({summand}, 0)" for summand in summands)} AS fused FROM ranked)""",
        ]

    def _best(self) -> str:
        request, bar = self._request, self._bar()
        if request.mode == "vector":
            told = f", NOT ({bar}) AS is_below, rank AS by_meaning, NULL AS by_words" if request.explains else ""
            return f"""SELECT id, distance, NULL::float8 AS lexical, NULL::float8 AS fused, rank AS place{told}
                FROM dense WHERE {"true" if request.explains else bar} AND distance <> 'NaN' ORDER BY rank"""
        if request.mode == "keyword":
            told = ", false AS is_below, NULL AS by_meaning, rank AS by_words" if request.explains else ""
            return f"""SELECT id, NULL::float8 AS distance, score AS lexical, NULL::float8 AS fused, rank AS place{told}
                FROM lexical ORDER BY rank"""
        order = "holds DESC, fused DESC, by_both"
        if not request.explains:
            return f"""SELECT id, distance, lexical, fused, row_number() OVER (ORDER BY {order}) AS place
                FROM fused WHERE {bar} OR is_spared ORDER BY place"""
        below = f"NOT coalesce({bar} OR is_spared, false)"
        return f"""SELECT id, distance, lexical, fused, row_number() OVER (ORDER BY {below}, {order}) AS place,
                {below} AS is_below, by_meaning, by_words FROM fused ORDER BY place"""

    def _bar(self) -> str:
        if self._vector and self._request.min_score > 0:
            return f"1 - distance >= {self._values.bind(self._request.min_score, 'float8')}"
        return "true"


def filter_key(request: SearchRequest, generation: Generation, who: Caller | None) -> Key:
    """Return what tells the request's filter from others; what may be read is a part of it."""
    filters, documents, nodes = request.filters, request.document_ids, request.node_ids
    return (
        generation.id,
        None if filters is None else repr(filters),  # JSON cannot hold all that a filter may
        None if documents is None else tuple(documents),
        None if nodes is None else tuple(nodes),
        None if who is None or who.sees_all else who.access,
    )
