"""The lexical leg of a search: BM25 in PostgreSQL.

The weights of its lexemes are stored with each chunk (``term_weights``, see migrations 0007 and 0011), inverse document
frequencies in the generation's lexicon (`storage.search.lexicon`); the score is their inner product: Okapi BM25 as in
Lucene, ``sum of ln(1 + (N - n + 0.5) / (n + 0.5)) * f * (k1 + 1) / (f + k1 * (1 - b + b * l / L))`` over the
question's lexemes, with k1 = 1.5 and b = 0.75.

Scoring every chunk with a common word would take too long. Candidates are chunks

- with any of the question's rarer words (as long as those are expected in at most `RANKED_ROWS` chunks),
- or with several of its common ones; with one of them only if there are too few rarer ones,

and these are scored by all words. If that gives too few, all chunks with any of the words are scored.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from storage import chunk_tables

if TYPE_CHECKING:
    from storage.generation import Generation
    from storage.search.filters import Parameters

RANKED_ROWS = 2000  # candidates with one of the rarer words; the same limit for those with several common ones
MAX_ROWS = 10_000  # maximum number of chunks scored
MAX_LEXEMES = 64  # of a question, the rarest; more would only add cost
MAX_PHRASES = 8
TYPO_WEIGHT = 0.5  # corrections of a misspelt word
OTHER_FORM_WEIGHT = 0.5  # words of the question without their accents
SHORTEST_TYPO, MAX_TYPO_LENGTH = 5, 30  # characters; shorter words have too many similar ones
MAX_TYPOS = 8  # in a question
_QUOTED = re.compile(r'"([^"]{2,200})"|“([^”]{2,200})”|„([^“”]{2,200})[“”]|«([^»]{2,200})»|「([^」]{2,200})」')

_TERMS = """corpus AS MATERIALIZED (
    SELECT coalesce(max(chunks), 0)::float8 AS chunks, coalesce(nullif(max(average_length), 0), {typical}) AS length
    FROM footnote.lexicons WHERE generation_id = {generation}
), asked AS MATERIALIZED (
    SELECT l.lexeme, x.chunks,
        CASE WHEN 'C' = ANY (l.weights) THEN {other_form_weight} ELSE 1.0 END AS weight
    FROM (SELECT * FROM unnest(footnote.lexemes({language}, {text}))
        UNION ALL SELECT * FROM unnest(setweight(ts_delete(to_tsvector({language}, footnote.words({text})),
            tsvector_to_array(footnote.lexemes({language}, {text}))), 'C'))
            -- as chunks of before are found, see `storage.search.rewording`
            WHERE EXISTS (SELECT FROM footnote.rewordings WHERE generation_id = {generation})) l
    LEFT JOIN footnote.lexicon x ON x.generation_id = {generation} AND x.lexeme = l.lexeme
    ORDER BY x.chunks NULLS LAST, l.positions[1] LIMIT {most}
), meant AS MATERIALIZED (
    SELECT m.lexeme, m.chunks, {typo_weight} AS weight
    FROM (SELECT word FROM (SELECT DISTINCT lower(word) AS word
              FROM regexp_split_to_table(footnote.words({text}), '[^[:alpha:]]+') AS word
              WHERE length(word) BETWEEN {shortest} AND {longest} AND (SELECT chunks > 0 FROM corpus)
              AND EXISTS (SELECT FROM asked WHERE chunks IS NULL)) d
          JOIN asked u ON u.lexeme = (tsvector_to_array(to_tsvector({language}, word)))[1]
              AND u.chunks IS NULL AND u.weight = 1
          ORDER BY word LIMIT {max_typos}) w
    CROSS JOIN LATERAL (
        -- no function beside the column: the policy would have to see every lexeme before it
        SELECT x.lexeme, x.chunks FROM unnest(footnote.mistyped({language}, word)) AS f(form)
        JOIN footnote.lexicon x ON x.generation_id = {generation} AND x.lexeme = f.form
        ORDER BY x.chunks DESC, x.lexeme LIMIT 1) m
), terms AS MATERIALIZED (
    SELECT *, '''' || replace(replace(lexeme, '\\', '\\\\'), '''', '''''') || '''' AS quoted,
        sum(chunks) OVER (ORDER BY chunks, lexeme) AS up_to
    FROM (SELECT lexeme, max(weight) AS weight, max(coalesce(chunks, 0)) AS chunks
          FROM (SELECT * FROM asked UNION ALL SELECT * FROM meant) b GROUP BY lexeme) t
), wanted AS MATERIALIZED (
    SELECT any_of::tsquery AS any_of, all_of::tsquery AS all_of, rare::tsquery AS rare, weights::sparsevec AS weights,
        one IS NULL OR (other IS NULL AND rare_ones < {enough}) AS seeks_all,
        (CASE WHEN one IS NULL OR (other IS NULL AND rare_ones >= {enough}) THEN NULL
            WHEN other IS NULL THEN one
            WHEN third IS NULL OR pairs <= {ranked}
                THEN '(' || one || ' & (' || concat_ws(' | ', other, third) || '))'
            ELSE '(' || one || ' & ' || other || ' & (' || third || '))' END)::tsquery AS common
    FROM (
        SELECT string_agg(quoted, ' | ') AS any_of,
            string_agg(quoted, ' & ') FILTER (WHERE weight = 1 AND t.chunks > 0) AS all_of,
            -- two words of one dimension cannot be told from each other: the first one stands for both
            '{{' || string_agg(dimension || ':' || (weight * ln(1 + (greatest(corpus.chunks - t.chunks, 0) + 0.5)
                / (t.chunks + 0.5)))::real, ',') FILTER (WHERE is_first) || '}}/1000000000' AS weights,
            string_agg(quoted, ' | ') FILTER (WHERE place IS NULL) AS rare,
            coalesce(sum(t.chunks) FILTER (WHERE place IS NULL), 0) AS rare_ones,
            max(quoted) FILTER (WHERE place = 1) AS one,
            max(quoted) FILTER (WHERE place = 2) AS other,
            string_agg(quoted, ' | ') FILTER (WHERE place > 2) AS third,
            max(t.chunks) FILTER (WHERE place = 1) * sum(t.chunks) FILTER (WHERE place > 1)
                / max(nullif(corpus.chunks, 0)) AS pairs
        FROM (
            SELECT *, footnote.dimension(lexeme) AS dimension,
                row_number() OVER (PARTITION BY footnote.dimension(lexeme) ORDER BY chunks, lexeme) = 1 AS is_first,
                CASE WHEN up_to > {ranked}
                    THEN row_number() OVER (PARTITION BY up_to > {ranked} ORDER BY chunks, lexeme) END AS place
            FROM terms
        ) t CROSS JOIN corpus
    ) s
)"""
_SCORE = """-(term_weights <#> (SELECT weights FROM wanted)) * (1.375 - 1.125 * ({length}) / {typical})
    / (1.375 - 1.125 * ({length}) / (SELECT length FROM corpus))"""
_LENGTH = "term_weights <#> '{1000000000:1}/1000000000'"  # negative, as ``<#>`` is


def quoted_phrases(text: str) -> list[str]:
    """Return the phrases in double quotation marks, of any language."""
    found = ("".join(match.groups("")).strip() for match in _QUOTED.finditer(text))
    return list(dict.fromkeys(phrase for phrase in found if phrase))[:MAX_PHRASES]


class LexicalLeg:
    """The part of a search statement that finds chunks by words.

    Chunks with all quoted phrases come first.
    """

    def __init__(self, text: str, *, generation: Generation, values: Parameters, depth: int, limit: int) -> None:
        self._table = chunk_tables.qualified(generation.id)
        self._typical = chunk_tables.typical_length(generation.chunking.tokens)
        self._language = f"'{generation.chunking.language}'::regconfig"
        self._generation = int(generation.id)
        self._text = values.bind(text, "text")
        self._phrases = [values.bind(phrase, "text") for phrase in quoted_phrases(text)]
        self._depth = depth
        self._limit = limit

    @property
    def score(self) -> str:
        """SQL of the score; 0 if a chunk has none of the words."""
        return _SCORE.format(length=_LENGTH, typical=self._typical)

    def holds(self, lexemes: str) -> str:
        """Return SQL: the lexemes contain all quoted phrases, if there are any."""
        if not self._phrases:
            return "false"
        return f"coalesce({lexemes} @@ (SELECT held FROM quoted), false)"

    def holds_all(self, lexemes: str) -> str:
        """Return SQL: the lexemes contain every word of the question that any chunk has, or all quoted phrases."""
        return f"(coalesce({lexemes} @@ (SELECT all_of FROM wanted), false) OR {self.holds(lexemes)})"

    def parts(self, *, where: str, is_filtered: bool, has_few: bool) -> list[str]:
        """Return the common table expressions; the last is ``lexical (id, score, rank)``.

        Args:
            where: SQL condition on a chunk.
            is_filtered: whether the condition excludes any chunk.
            has_few: whether ``matching`` and ``few`` exist, see `storage.search.statement`.

        """
        columns = f"id, {self.score} AS score"
        usable = f"{where} AND NOT (SELECT are_all FROM few)" if has_few else where
        # a phrase of stop words is NULL, and `||` with NULL is NULL
        rare = "rare"
        if self._phrases:
            held = "(SELECT held FROM quoted)"
            rare = f"coalesce(rare || {held}, rare, {held})"
        scored = ["SELECT * FROM found", "SELECT * FROM others"]
        if has_few:
            scored.append(f"""SELECT {columns}, {self.holds("text_search_tsv")} AS holds
                FROM matching WHERE (SELECT are_all FROM few)
                AND term_weights <#> (SELECT weights FROM wanted) < 0""")
        # rows are told apart by id: to look into the lexemes of each takes three times as long as its score; those
        # that are not among the rarer ones hold no phrase
        return [
            self._terms(is_filtered=is_filtered),
            *self._quoted(),
            f"""rarer AS MATERIALIZED (
                SELECT {columns}, {self.holds("text_search_tsv")} AS holds FROM {self._table}
                WHERE text_search_tsv @@ (SELECT {rare} FROM wanted) AND {usable} LIMIT {MAX_ROWS})""",
            f"""found AS MATERIALIZED (
                SELECT * FROM rarer
                UNION ALL  -- rows with a rare word are never crowded out by those with common ones
                (SELECT {columns}, false AS holds FROM {self._table}
                WHERE text_search_tsv @@ (SELECT common FROM wanted) AND {usable}
                AND id NOT IN (SELECT id FROM rarer) LIMIT {MAX_ROWS}))""",
            f"""scarce AS MATERIALIZED (
                SELECT count(*) < {self._limit} AND NOT (SELECT seeks_all FROM wanted) AS is_short FROM found)""",
            f"""others AS MATERIALIZED (
                SELECT {columns}, false AS holds FROM {self._table} WHERE (SELECT is_short FROM scarce)
                AND text_search_tsv @@ (SELECT any_of FROM wanted) AND {usable}
                AND id NOT IN (SELECT id FROM found) LIMIT {MAX_ROWS})""",
            f"""lexical AS MATERIALIZED (
                SELECT id, score, row_number() OVER (ORDER BY holds DESC, score DESC, id) AS rank FROM (
                    SELECT * FROM ({" UNION ALL ".join(scored)}) r
                    ORDER BY holds DESC, score DESC, id LIMIT {self._depth}) l)""",
        ]

    def _terms(self, *, is_filtered: bool) -> str:
        return _TERMS.format(
            generation=self._generation,
            language=self._language,
            text=self._text,
            typical=self._typical,
            most=MAX_LEXEMES,
            typo_weight=TYPO_WEIGHT,
            other_form_weight=OTHER_FORM_WEIGHT,
            shortest=SHORTEST_TYPO,
            longest=MAX_TYPO_LENGTH,
            max_typos=MAX_TYPOS,
            ranked=RANKED_ROWS,
            enough=RANKED_ROWS if is_filtered else 10 * self._depth,
        )

    def _quoted(self) -> list[str]:
        if not self._phrases:
            return []
        phrases = " && ".join(f"coalesce(footnote.phrase({self._language}, {phrase}), '')" for phrase in self._phrases)
        return [f"quoted AS MATERIALIZED (SELECT CASE WHEN numnode({phrases}) > 0 THEN {phrases} END AS held)"]
