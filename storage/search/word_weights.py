"""How much each word of a question tells in a generation: inverse document frequencies, typing errors mended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cachetools import TTLCache

from storage.caller import caller
from storage.search.breadth import broad_filters
from storage.search.lexical_leg import MAX_TYPO_LENGTH, SHORTEST_TYPO, most_typos, told_words
from storage.search.readability import count_documents, readable_condition, readable_documents

if TYPE_CHECKING:
    from storage.caller import Caller
    from storage.database import Database
    from storage.generation import Generation

REMEMBERED_SECONDS = 60.0
REMEMBERED_WORDS = 50_000
_Place = tuple[int, str, tuple[str, ...]]
"""A generation, a word, and what whoever asks may read."""


@dataclass(frozen=True, slots=True)
class WordWeight:
    """What the lexicon says of a word.

    Attributes:
        lexeme: as chunks have it; of a misspelt word, of the most frequent one that it may have been.
        weight: ``ln(1 + (N - n + 0.5) / (n + 0.5))``, BM25's, of n among N chunks; of an unknown word that of n = 0.
        is_known: whether any chunk that the caller may read has it, or the word that it may have been; see
            `storage.search.lexical_leg.told_words`.
        is_misspelt: whether the lexeme is another word's.

    """

    word: str
    lexeme: str
    weight: float
    is_known: bool
    is_misspelt: bool = False


class WordWeights:
    """Looks words up, and remembers those that a generation has: most words of a question came in one before.

    A remembered weight is up to `REMEMBERED_SECONDS` old, and counts for those who may read the same. Words that no
    chunk has are looked up each time: a document that was just added may have them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._remembered: TTLCache[tuple[int, str, tuple[str, ...]], WordWeight | None] = TTLCache(
            REMEMBERED_WORDS, REMEMBERED_SECONDS
        )

    async def of(self, generation: Generation, *, words: Sequence[str]) -> list[WordWeight]:
        """Return the weights of words and identifiers, in their order, without stop words of the generation's language.

        Raises:
            StoreUnavailable: the database cannot be reached.

        """
        found: dict[str, WordWeight | None] = {}
        who = caller()
        access = () if who is None else who.access
        for word in words:
            if (place := (generation.id, word, access)) in self._remembered:
                found[word] = self._remembered[place]
        if missing := [word for word in dict.fromkeys(words) if word not in found]:
            looked_up = await self._looked_up(generation, missing, who)
            found |= looked_up
            for word, weight in looked_up.items():
                if weight is None or (weight.is_known and not weight.is_misspelt):
                    self._remembered[generation.id, word, access] = weight
        return [weight for word in words if (weight := found[word]) is not None]

    async def _looked_up(
        self, generation: Generation, words: list[str], who: Caller | None
    ) -> dict[str, WordWeight | None]:
        known = broad_filters(self._database)
        documents = await count_documents(self._database, generation, who, known=known)
        async with self._database.connection() as connection:
            readable = await readable_documents(connection, generation, who, known=known, documents=documents)
            named = [] if isinstance(readable, str) else [list(readable)]
            condition = readable_condition(readable, generation, ids="$4::text[]")
            statement = _WEIGHTS.format(
                is_told=told_words(generation, readable=condition), most=most_typos(readable=condition), **_LIMITS
            )
            rows = await connection.fetch(statement, generation.id, words, generation.chunking.language, *named)
        return dict.fromkeys(words) | {row["word"]: WordWeight(**row) for row in rows}


_LIMITS = {"shortest": SHORTEST_TYPO, "longest": MAX_TYPO_LENGTH}
_WEIGHTS = """
    WITH corpus AS MATERIALIZED (
        SELECT coalesce(max(chunks), 0)::float8 AS chunks FROM footnote.lexicons WHERE generation_id = $1
    ), asked AS MATERIALIZED (
        SELECT w.word, w.place, l.lexeme, x.chunks
        FROM unnest($2::text[]) WITH ORDINALITY AS w(word, place)
        CROSS JOIN LATERAL (SELECT CASE WHEN word ~ '[^[:alnum:]]' THEN left(lower(word), 200)
            ELSE (tsvector_to_array(to_tsvector($3::text::regconfig, word)))[1] END AS lexeme) l
        LEFT JOIN footnote.lexicon x ON x.generation_id = $1 AND x.lexeme = l.lexeme AND {is_told}
        WHERE l.lexeme IS NOT NULL
    ), misspelt AS MATERIALIZED (
        SELECT place, m.lexeme, m.chunks
        FROM (SELECT * FROM asked WHERE chunks IS NULL AND word ~ '^[[:alpha:]]+$'
              AND length(word) BETWEEN {shortest} AND {longest} ORDER BY place LIMIT {most}) a
        CROSS JOIN LATERAL (
            -- no function beside the column: the policy would have to see every lexeme before it
            SELECT x.lexeme, x.chunks FROM unnest(footnote.mistyped($3::text::regconfig, lower(word))) AS f(form)
            JOIN footnote.lexicon x ON x.generation_id = $1 AND x.lexeme = f.form AND {is_told}
            ORDER BY x.chunks DESC, x.lexeme LIMIT 1) m
    )
    SELECT a.word, coalesce(m.lexeme, a.lexeme) AS lexeme,
        ln(1 + (greatest(c.chunks - coalesce(m.chunks, a.chunks, 0), 0) + 0.5)
            / (coalesce(m.chunks, a.chunks, 0) + 0.5)) AS weight,
        coalesce(m.chunks, a.chunks) IS NOT NULL AS is_known, m.lexeme IS NOT NULL AS is_misspelt
    FROM asked a CROSS JOIN corpus c LEFT JOIN misspelt m USING (place) ORDER BY a.place"""
