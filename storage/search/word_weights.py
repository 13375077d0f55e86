"""How much each word of a question tells in a generation: inverse document frequencies, typing errors mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.search.lexical_leg import MAX_TYPO_LENGTH, MAX_TYPOS, SHORTEST_TYPO

if TYPE_CHECKING:
    from storage.database import Database
    from storage.generation import Generation


@dataclass(frozen=True, slots=True)
class WordWeight:
    """What the lexicon says of a word.

    Attributes:
        lexeme: as chunks have it; of a misspelt word, of the most frequent one that it may have been.
        weight: ``ln(1 + (N - n + 0.5) / (n + 0.5))``, BM25's, of n among N chunks; of an unknown word that of n = 0.
        is_known: whether any chunk has it, or the word that it may have been.
        is_misspelt: whether the lexeme is another word's.

    """

    word: str
    lexeme: str
    weight: float
    is_known: bool
    is_misspelt: bool = False


async def word_weights(database: Database, generation: Generation, *, words: Sequence[str]) -> list[WordWeight]:
    """Return the weights of words and identifiers, in their order, without stop words of the generation's language.

    Raises:
        StoreUnavailable: the database cannot be reached.

    """
    async with database.connection() as connection:
        rows = await connection.fetch(_WEIGHTS, generation.id, list(words), generation.chunking.language)
    return [WordWeight(**row) for row in rows]


_WEIGHTS = f"""
    WITH corpus AS MATERIALIZED (
        SELECT coalesce(max(chunks), 0)::float8 AS chunks FROM footnote.lexicons WHERE generation_id = $1
    ), asked AS MATERIALIZED (
        SELECT w.word, w.place, l.lexeme, x.chunks
        FROM unnest($2::text[]) WITH ORDINALITY AS w(word, place)
        CROSS JOIN LATERAL (SELECT CASE WHEN word ~ '[^[:alnum:]]' THEN left(lower(word), 200)
            ELSE (tsvector_to_array(to_tsvector($3::text::regconfig, word)))[1] END AS lexeme) l
        LEFT JOIN footnote.lexicon x ON x.generation_id = $1 AND x.lexeme = l.lexeme
        WHERE l.lexeme IS NOT NULL
    ), misspelt AS MATERIALIZED (
        SELECT place, m.lexeme, m.chunks
        FROM (SELECT * FROM asked WHERE chunks IS NULL AND word ~ '^[[:alpha:]]+$'
              AND length(word) BETWEEN {SHORTEST_TYPO} AND {MAX_TYPO_LENGTH} ORDER BY place LIMIT {MAX_TYPOS}) a
        CROSS JOIN LATERAL (
            -- no function beside the column: the policy would have to see every lexeme before it
            SELECT x.lexeme, x.chunks FROM unnest(footnote.mistyped($3::text::regconfig, lower(word))) AS f(form)
            JOIN footnote.lexicon x ON x.generation_id = $1 AND x.lexeme = f.form
            ORDER BY x.chunks DESC, x.lexeme LIMIT 1) m
    )
    SELECT a.word, coalesce(m.lexeme, a.lexeme) AS lexeme,
        ln(1 + (greatest(c.chunks - coalesce(m.chunks, a.chunks, 0), 0) + 0.5)
            / (coalesce(m.chunks, a.chunks, 0) + 0.5)) AS weight,
        coalesce(m.chunks, a.chunks) IS NOT NULL AS is_known, m.lexeme IS NOT NULL AS is_misspelt
    FROM asked a CROSS JOIN corpus c LEFT JOIN misspelt m USING (place) ORDER BY a.place"""
