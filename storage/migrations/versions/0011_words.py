r"""Words inside ``<…>``, words without their accents, and Thai, Lao, Khmer and Burmese as pairs of characters.

Only functions are replaced: no table of chunks is locked or written. What is written from now on has the new lexemes;
chunks of before are written anew, some at a time, by `storage.search.rewording`, and until then a search looks for the
lexemes of before too. Generations that are not done are in ``footnote.rewordings``.
"""

from alembic import op

from storage.schema_version import run_script

revision = "0011"
down_revision = "0010"

# what Lucene's CJKBigramFilter calls Han, Hiragana, Katakana and Hangul
CJK = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
# the letters of Thai, Lao, Khmer and Burmese, and the marks that stand above, below and behind them
LETTERS = (
    r"\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd\u0ec0-\u0ec6\u0edc-\u0edf\u1780-\u17b3\u17dc"
    r"\u1000-\u102a\u103f\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e"
)
MARKS = (
    r"\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u17b4-\u17d3\u17dd\u102b-\u103e\u1056-\u1059"
    r"\u105e-\u1060\u1062-\u1064\u1067-\u106d\u1071-\u1074\u1082-\u108d\u108f\u109a-\u109d"
)
ONE = f"[{CJK}{LETTERS}][{MARKS}]*"
ANY = f"[{CJK}{LETTERS}{MARKS}]"
# the vowels of Hebrew and Arabic
POINTS = r"\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
ACCENTED = rf"[\u00c0-\u024f\u0300-\u03ff\u0400-\u040f\u0450-\u0460\u0622-\u0626\u1e00-\u1fff{POINTS}]"
BETWEEN = f"[^\\s{CJK}{LETTERS}{MARKS}]*"

FUNCTIONS = rf"""
-- A text as PostgreSQL's parser is to see it: parts of compounds are words of their own (it takes ``postgresql.conf``
-- for a host), so is what stands in angle brackets (it leaves markup out); wide and half-wide forms
-- and ligatures are the usual letters.
CREATE OR REPLACE FUNCTION footnote.words(content text) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT translate(CASE WHEN content ~ '[^\x01-\x7f]' THEN normalize(content, NFKC) ELSE content END,
        '_./\:@#<>&-' || U&'\2013\2014', '             ');
END;

-- Texts in scripts without blanks between words (Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese) as pairs of
-- neighbouring characters, each with its marks: those that begin at the even places, and those at the odd ones.
CREATE OR REPLACE FUNCTION footnote.bigrams(content text, at_odd boolean) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT regexp_replace(
        CASE WHEN at_odd THEN regexp_replace(regexp_replace(regexp_replace(content,
            '[^{ANY[1:-1]}]+', ' ', 'g'), '(?<!{ANY}){ONE}', '', 'g'), '(?<!{ANY}){ONE}(?!{ANY})', ' ', 'g')
        ELSE regexp_replace(regexp_replace(content,
            '[\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]', ' ', 'g'),
            '(?<!{ANY}){ONE}(?!{ANY})', ' \& ', 'g')
        END, '({ONE}{ONE})(?:{ONE}(?!{ANY}))?', ' \1 ', 'g');
END;

-- A text without accents, as the extension ``unaccent`` would write it, which not every user may create.
CREATE FUNCTION footnote.folded(content text) RETURNS text IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT normalize(regexp_replace(normalize(translate(
        replace(replace(replace(replace(replace(replace(replace(content,
            'ß', 'ss'), 'æ', 'ae'), 'Æ', 'Ae'), 'œ', 'oe'), 'Œ', 'Oe'), 'þ', 'th'), 'Þ', 'Th'),
        'ØøŁłĐđÐðĦħŦŧı', 'OoLlDdDdHhTti'), NFD),
        '(?<![\u0418\u0438])\u0306|[\u0300-\u0305\u0307-\u036f{POINTS}]', '', 'g'), NFC);
END;

-- What a chunk is found by: stems without stop words, the same without accents (their label is C), identifiers whole.
CREATE OR REPLACE FUNCTION footnote.lexemes(language regconfig, content text) RETURNS tsvector IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT written
        || CASE WHEN words ~ '{ACCENTED}' THEN setweight(ts_delete(to_tsvector(language, footnote.folded((
                SELECT coalesce(string_agg(found[1], ' '), '')
                FROM regexp_matches(words, '{BETWEEN}{ACCENTED}{BETWEEN}', 'g') found))),
            tsvector_to_array(written)), 'C') ELSE '' END
        || array_to_tsvector(ARRAY(
            SELECT DISTINCT left(lower(found[1]), 200) FROM regexp_matches(content,
                '[[:alnum:]]+(?:[_.:/@#+\\-]{{1,2}}[[:alnum:]]+)+|\m[[:alpha:]](?:\+\+|#)', 'g') found))
    FROM (
        SELECT words, CASE WHEN words ~ '{ANY}'
            THEN to_tsvector(language, footnote.bigrams(words, false))
                || to_tsvector(language, footnote.bigrams(words, true))
            ELSE to_tsvector(language, words) END AS written
        FROM (SELECT footnote.words(coalesce(content, '')) AS words OFFSET 0) w OFFSET 0
    ) p;
END;

-- As before; words without their accents add nothing to a chunk's length.
CREATE OR REPLACE FUNCTION footnote.term_weights(lexemes tsvector, typical_length real) RETURNS sparsevec
IMMUTABLE STRICT PARALLEL SAFE
BEGIN ATOMIC
    SELECT ('{{' || coalesce(string_agg(dimension || ':' || weight, ','), '') || '}}/1000000000')::sparsevec FROM (
        SELECT dimension,
            (frequency * 2.5 / (frequency + 1.5 * (0.25 + 0.75 * length / typical_length)))::real AS weight
        FROM (
            SELECT footnote.dimension(lexeme) AS dimension, sum(coalesce(cardinality(positions), 1)) AS frequency,
                sum(sum(coalesce(cardinality(array_positions(weights, 'D')), 0))) OVER () AS length
            FROM unnest(lexemes) GROUP BY 1 ORDER BY 2 DESC LIMIT 15999
        ) f
        UNION ALL
        SELECT 1000000000, sum(coalesce(cardinality(array_positions(weights, 'D')), 0)) FROM unnest(lexemes)
    ) w WHERE weight > 0;
END;

-- What a chunk must match to hold a quoted phrase: its words as they are written, one after the other.
CREATE OR REPLACE FUNCTION footnote.phrase(language regconfig, content text) RETURNS tsquery IMMUTABLE PARALLEL SAFE
BEGIN ATOMIC
    SELECT CASE WHEN words ~ '{ANY}'
        THEN (SELECT string_agg('''' || replace(replace(lexeme, '\', '\\'), '''', '''''') || '''', ' & ')
              FROM unnest(ts_filter(footnote.lexemes(language, words), '{{d}}')))::tsquery
        ELSE phraseto_tsquery(language, words) END
    FROM (SELECT footnote.words(content) AS words) w;
END;
"""

TABLES = """
CREATE TABLE footnote.rewordings (
    generation_id bigint PRIMARY KEY REFERENCES footnote.generations ON DELETE CASCADE,
    last_chunk bigint NOT NULL DEFAULT 0
);
INSERT INTO footnote.rewordings (generation_id) SELECT id FROM footnote.generations;
-- how many chunks the database says that it has deleted, when the lexemes were counted
CREATE TABLE footnote.lexicon_deletions (
    generation_id bigint PRIMARY KEY REFERENCES footnote.generations ON DELETE CASCADE,
    deleted bigint NOT NULL
);
"""


def upgrade() -> None:
    """Replace the functions, and note which generations have chunks of before."""
    run_script(op.get_bind(), FUNCTIONS)
    run_script(op.get_bind(), TABLES)
