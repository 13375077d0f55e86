"""Words that rank like BM25: what a text's lexemes are, what each weighs in its chunk, how many chunks hold it.

The tables of chunks are written anew, with their indexes, as the columns' values change: seconds for ten thousand
chunks, about as long as building their HNSW index takes for millions (docs/operations/running.md).
"""

from alembic import op

from storage.schema_version import run_script

revision = "0007"
down_revision = "0006"

# what Lucene's CJKBigramFilter calls Han, Hiragana, Katakana and Hangul
CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"

FUNCTIONS = rf"""
-- A text as PostgreSQL's parser is to see it: parts of compounds are words of their own (it takes ``postgresql.conf``
-- for a host), wide and half-wide forms and ligatures are the usual letters.
CREATE FUNCTION footnote.words(content text) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT translate(CASE WHEN content ~ '[^\x01-\x7f]' THEN normalize(content, NFKC) ELSE content END,
        '_./\:@#-' || U&'\2013\2014', '          ');
END;

-- Texts in Chinese, Japanese and Korean as pairs of neighbouring characters: those that begin at the even places, and
-- those at the odd ones.
CREATE FUNCTION footnote.bigrams(content text, at_odd boolean) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT regexp_replace(
        CASE WHEN at_odd THEN regexp_replace(regexp_replace(regexp_replace(content,
            '[^{CJK}]+', ' ', 'g'), '(?<![{CJK}])[{CJK}]', '', 'g'), '(?<![{CJK}])[{CJK}](?![{CJK}])', ' ', 'g')
        ELSE regexp_replace(regexp_replace(content,
            '[\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]', ' ', 'g'),
            '(?<![{CJK}])[{CJK}](?![{CJK}])', ' \& ', 'g')
        END, '([{CJK}][{CJK}])(?:[{CJK}](?![{CJK}]))?', ' \1 ', 'g');
END;

-- What a chunk is found by: stems without stop words, and identifiers whole.
CREATE FUNCTION footnote.lexemes(language regconfig, content text) RETURNS tsvector IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN words ~ '[{CJK}]'
        THEN to_tsvector(language, footnote.bigrams(words, false))
            || to_tsvector(language, footnote.bigrams(words, true))
        ELSE to_tsvector(language, words) END
        || array_to_tsvector(ARRAY(
            SELECT DISTINCT left(lower(found[1]), 200) FROM regexp_matches(content,
                '[[:alnum:]]+(?:[_.:/@#+\\-]{{1,2}}[[:alnum:]]+)+|\m[[:alpha:]](?:\+\+|#)', 'g') found))
    FROM (SELECT footnote.words(coalesce(content, '')) AS words) w;
END;

-- The dimension of the sparse vectors that stands for a lexeme; the last one stands for the chunk's length.
CREATE FUNCTION footnote.dimension(lexeme text) RETURNS integer IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT mod(hashtextextended(lexeme, 0) & 9007199254740991, 999999999)::integer + 1;
END;

-- What each lexeme weighs in a chunk: Okapi BM25's part of a document (Robertson and Zaragoza, "The Probabilistic
-- Relevance Framework: BM25 and Beyond", 2009) with k1 = 1.5 and b = 0.75, beside a chunk of a typical length.
CREATE FUNCTION footnote.term_weights(lexemes tsvector, typical_length real) RETURNS sparsevec
IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT ('{{' || coalesce(string_agg(dimension || ':' || weight, ','), '') || '}}/1000000000')::sparsevec FROM (
        SELECT dimension,
            (frequency * 2.5 / (frequency + 1.5 * (0.25 + 0.75 * length / typical_length)))::real AS weight
        FROM (
            SELECT footnote.dimension(lexeme) AS dimension, sum(coalesce(cardinality(positions), 1)) AS frequency,
                sum(sum(coalesce(cardinality(positions), 0))) OVER () AS length
            FROM unnest(lexemes) GROUP BY 1 ORDER BY 2 DESC LIMIT 15999
        ) f
        UNION ALL
        SELECT 1000000000, sum(coalesce(cardinality(positions), 0)) FROM unnest(lexemes)
    ) w WHERE weight > 0;
END;

-- What a chunk must match to hold a quoted phrase: its words, one after the other.
CREATE FUNCTION footnote.phrase(language regconfig, content text) RETURNS tsquery IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN words ~ '[{CJK}]'
        THEN (SELECT string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' & ')
              FROM unnest(footnote.lexemes(language, words)))::tsquery
        ELSE phraseto_tsquery(language, words) END
    FROM (SELECT footnote.words(content) AS words) w;
END;

-- The lexemes of all that a word may have been before somebody mistyped it: a letter too many, too few, another one, or
-- two that changed places (the edits of Damerau, "A technique for computer detection and correction of spelling
-- errors", 1964). They are looked up one by one: it takes no longer where there are many lexemes.
CREATE FUNCTION footnote.mistyped(language regconfig, word text) RETURNS text[] IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT tsvector_to_array(to_tsvector(language, string_agg(DISTINCT edited, ' ')))
    FROM generate_series(0, length(word)) AS at, LATERAL (
        SELECT left(word, at) || substr(word, at + 2) AS edited WHERE at < length(word)
        UNION ALL SELECT left(word, at) || substr(word, at + 2, 1) || substr(word, at + 1, 1) || substr(word, at + 3)
            WHERE at < length(word) - 1
        UNION ALL SELECT unnest(ARRAY[left(word, at) || letter || substr(word, at + 1),
            left(word, at) || letter || substr(word, at + 2)])
            FROM regexp_split_to_table(CASE WHEN word ~ '[\u0400-\u04ff]' THEN 'абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґ'
                WHEN word ~ '[\u0370-\u03ff]' THEN 'αβγδεζηθικλμνξοπρστυφχψωςάέήίόύώ'
                ELSE 'abcdefghijklmnopqrstuvwxyzäöüßàáâãåæçèéêíîñóôøùú' END, '') AS letter
    ) e WHERE edited <> word;
END;
"""

TABLES = """
CREATE TABLE footnote.lexicons (
    generation_id bigint PRIMARY KEY REFERENCES footnote.generations ON DELETE CASCADE,
    chunks bigint NOT NULL CHECK (chunks >= 0),
    average_length real NOT NULL,
    last_chunk bigint NOT NULL,
    counted_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE footnote.lexicon (
    generation_id bigint NOT NULL REFERENCES footnote.generations ON DELETE CASCADE,
    lexeme text NOT NULL COLLATE "C",
    chunks integer NOT NULL CHECK (chunks > 0),
    PRIMARY KEY (generation_id, lexeme)
);
"""

COLUMNS = """
ALTER TABLE footnote.{name} DROP COLUMN text_search_tsv,
    ADD COLUMN text_search_tsv tsvector GENERATED ALWAYS AS ({lexemes}) STORED,
    ADD COLUMN term_weights sparsevec GENERATED ALWAYS AS (footnote.term_weights({lexemes}, {typical_length})) STORED;
CREATE INDEX {name}_text ON footnote.{name} USING gin (text_search_tsv);
"""
LEXEMES = """footnote.lexemes('{language}'::regconfig,
    coalesce(metadata_ ->> 'title', '') || ' ' || coalesce(metadata_ ->> 'heading', '') || ' ' || text)"""

COUNT = """
INSERT INTO footnote.lexicons (generation_id, chunks, average_length, last_chunk)
SELECT {id}, count(*), coalesce(avg(-(term_weights <#> '{{1000000000:1}}/1000000000')), 0), coalesce(max(id), 0)
FROM footnote.{name};
INSERT INTO footnote.lexicon (generation_id, lexeme, chunks)
SELECT {id}, word, ndoc FROM ts_stat('SELECT text_search_tsv FROM footnote.{name}');
"""


def upgrade() -> None:
    """Create functions and tables, and write the tables of chunks anew."""
    database = op.get_bind()
    run_script(database, FUNCTIONS)
    run_script(database, TABLES)
    generations = database.exec_driver_sql("SELECT id, language, chunk_tokens FROM footnote.generations ORDER BY id")
    for generation_id, language, chunk_tokens in generations.all():
        name = f"data_generation_{int(generation_id)}"
        run_script(
            database,
            COLUMNS.format(
                name=name,
                lexemes=LEXEMES.format(language=language),
                typical_length=max(16.0, chunk_tokens / 4),
            ),
        )
        run_script(database, COUNT.format(id=int(generation_id), name=name))
