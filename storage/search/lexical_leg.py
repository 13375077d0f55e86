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
TOLD_FROM = 200
"""Chunks with a word from which on whoever may read any chunk is told that there is such a word, see `told_words`."""
TYPO_WEIGHT = 0.5  # corrections of a misspelt word
OTHER_FORM_WEIGHT = 0.5  # words of the question without their accents
SHORTEST_TYPO, MAX_TYPO_LENGTH = 5, 30  # characters; shorter words have too many similar ones
MAX_TYPOS = 8  # in a question
TYPOS_OF_LIMITED = 2
"""The same where not all may be read: words of hidden documents alone are looked for, too, 2 ms each."""
PAIRS = (
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
    r"\U00020000-\U0003134f]"
)
"""Characters of the scripts whose texts are found by pairs of them; PostgreSQL reads the escapes."""
_QUOTED = re.compile(r'"([^"]{2,200})"|“([^”]{2,200})”|„([^“”]{2,200})[“”]|«([^»]{2,200})»|「([^」]{2,200})」')

_QUOTED_WORD = """'''' || replace(replace({word}, '\\', '\\\\'), '''', '''''') || ''''"""
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
    LEFT JOIN footnote.lexicon x ON x.generation_id = {generation} AND x.lexeme = l.lexeme AND {is_told}
    ORDER BY x.chunks NULLS LAST, l.positions[1] LIMIT {most}
), meant AS MATERIALIZED (
    SELECT m.lexeme, m.chunks, {typo_weight} AS weight, w.lexeme AS mistyped
    FROM (SELECT word, u.lexeme FROM (SELECT DISTINCT lower(word) AS word
              FROM regexp_split_to_table(footnote.words({text}), '[^[:alpha:]]+') AS word
              WHERE length(word) BETWEEN {shortest} AND {longest} AND (SELECT chunks > 0 FROM corpus)
              AND EXISTS (SELECT FROM asked WHERE chunks IS NULL)) d
          JOIN asked u ON u.lexeme = (tsvector_to_array(to_tsvector({language}, word)))[1]
              AND u.chunks IS NULL AND u.weight = 1
          ORDER BY word LIMIT {max_typos}) w
    CROSS JOIN LATERAL (
        -- no function beside the column: the policy would have to see every lexeme before it
        SELECT x.lexeme, x.chunks FROM unnest(footnote.mistyped({language}, word)) AS f(form)
        JOIN footnote.lexicon x ON x.generation_id = {generation} AND x.lexeme = f.form AND {is_told}
        ORDER BY x.chunks DESC, x.lexeme LIMIT 1) m
), terms AS MATERIALIZED (
    SELECT *, {quoted} AS quoted,
        sum(chunks) OVER (ORDER BY chunks, lexeme) AS up_to
    FROM (SELECT lexeme, max(weight) AS weight, max(coalesce(chunks, 0)) AS chunks
          FROM (SELECT * FROM asked UNION ALL SELECT lexeme, chunks, weight FROM meant) b GROUP BY lexeme) t
), wanted AS MATERIALIZED (
    SELECT any_of::tsquery AS any_of, all_of::tsquery AS all_of, rare::tsquery AS rare, weights::sparsevec AS weights,
        whole,
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
            '{{' || string_agg(dimension || ':' || worth::real, ',') FILTER (WHERE is_first) || '}}/1000000000'
                AS weights,
            sum(worth) FILTER (WHERE is_first AND (weight = 1 OR lexeme NOT IN (SELECT lexeme FROM meant))
                AND lexeme NOT IN (SELECT mistyped FROM meant)
                AND NOT (t.chunks = 0 AND lexeme ~ '{pairs}')) AS whole,
            string_agg(quoted, ' | ') FILTER (WHERE place IS NULL) AS rare,
            coalesce(sum(t.chunks) FILTER (WHERE place IS NULL), 0) AS rare_ones,
            max(quoted) FILTER (WHERE place = 1) AS one,
            max(quoted) FILTER (WHERE place = 2) AS other,
            string_agg(quoted, ' | ') FILTER (WHERE place > 2) AS third,
            max(t.chunks) FILTER (WHERE place = 1) * sum(t.chunks) FILTER (WHERE place > 1)
                / max(nullif(corpus.chunks, 0)) AS pairs
        FROM (
            SELECT terms.*, footnote.dimension(lexeme) AS dimension,
                weight * ln(1 + (greatest(corpus.chunks - terms.chunks, 0) + 0.5) / (terms.chunks + 0.5)) AS worth,
                row_number() OVER (PARTITION BY footnote.dimension(lexeme) ORDER BY terms.chunks, lexeme) = 1
                    AS is_first,
                CASE WHEN up_to > {ranked}
                    THEN row_number() OVER (PARTITION BY up_to > {ranked} ORDER BY terms.chunks, lexeme) END AS place
            FROM terms CROSS JOIN corpus
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


def most_typos(*, readable: str | None) -> int:
    """Return for how many words of a question it is looked up which ones they may have been."""
    return MAX_TYPOS if readable is None else TYPOS_OF_LIMITED


def told_words(generation: Generation, *, readable: str | None) -> str:
    """Return SQL that a word of the lexicon ``x`` may be told of: that a chunk which may be read has it.

    The lexicon counts all chunks. Without this, one could learn whether hidden documents have a word, though none of
    one's own has it: a word that is known is not taken for a misspelt one, and is among those that a full match needs.
    Words in many chunks are told of in any case, as to look for one that may be read may take long.
    """
    if readable is None:
        return "true"
    # the limit bounds the look where the lexicon is behind; without it the planner may read the whole of a large table,
    # as it expects to meet the word soon
    return f"""(x.chunks > {TOLD_FROM} OR EXISTS (SELECT FROM (
        SELECT document_id FROM {chunk_tables.qualified(generation.id)}
        WHERE text_search_tsv @@ ({_QUOTED_WORD.format(word="x.lexeme")})::tsquery LIMIT {2 * TOLD_FROM}) h
        WHERE {readable}))"""


class LexicalLeg:
    """The part of a search statement that finds chunks by words.

    Chunks with all quoted phrases come first. `readable` is SQL that a chunk may be read, None where all may.
    """

    def __init__(
        self, text: str, *, generation: Generation, values: Parameters, depth: int, limit: int,
        readable: str | None = None,
    ) -> None:  # fmt: skip
        self._is_told = told_words(generation, readable=readable)
        self._most_typos = most_typos(readable=readable)
        self._table = chunk_tables.qualified(generation.id)
        self._typical = chunk_tables.typical_length(generation.chunking.tokens)
        self._language = f"'{generation.chunking.language}'::regconfig"
        self._generation = int(generation.id)
        self._text = values.bind(text, "text")
        self._phrases = [values.bind(phrase, "text") for phrase in quoted_phrases(text)]
        self._depth = depth
        self._limit = limit

    @property
    def whole(self) -> str:
        """SQL of the score of a chunk of average length that has each word of the question once.

        Words that no chunk has count, too, but neither those that were taken for others nor pairs of characters, most
        of which are no words; NULL if there are no other words.
        """
        return "(SELECT whole FROM wanted)"

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
            is_told=self._is_told,
            quoted=_QUOTED_WORD.format(word="lexeme"),
            most=MAX_LEXEMES,
            pairs=PAIRS,
            typo_weight=TYPO_WEIGHT,
            other_form_weight=OTHER_FORM_WEIGHT,
            shortest=SHORTEST_TYPO,
            longest=MAX_TYPO_LENGTH,
            max_typos=self._most_typos,
            ranked=RANKED_ROWS,
            enough=RANKED_ROWS if is_filtered else 10 * self._depth,
        )

    def _quoted(self) -> list[str]:
        if not self._phrases:
            return []
        phrases = " && ".join(f"coalesce(footnote.phrase({self._language}, {phrase}), '')" for phrase in self._phrases)
        return [f"quoted AS MATERIALIZED (SELECT CASE WHEN numnode({phrases}) > 0 THEN {phrases} END AS held)"]
