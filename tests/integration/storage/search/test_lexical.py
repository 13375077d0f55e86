"""The lexical leg against BM25 as bm25s has it, and what people type: identifiers, phrases, typos, other scripts."""

import random
from dataclasses import replace

import bm25s
import numpy as np
import pytest
from support.corpus import DIMENSION, chunks, document, fill, make_collection, vector

from config.settings import RetrievalSettings
from storage import chunk_tables
from storage.database import Database
from storage.documents.writes import Documents
from storage.search import lexical_leg
from storage.search.lexical_leg import quoted_phrases
from storage.search.lexicon import Lexicon
from storage.search.search import ChunkSearch, SearchRequest
from storage.vector_store import ChunkStore


async def searched(database: Database, texts, *, language="english", counted=True):
    generation = await make_collection(database, language=language)
    # one number for a name, so that titles are no words of anybody's question
    await fill(database, generation, {str(number): (text, {}) for number, text in enumerate(texts, start=10_000)})
    if counted:
        assert await Lexicon(database, generation=generation).keep_up()
    return ChunkSearch(database, generation=generation, settings=RetrievalSettings())


async def by_words(search, question, *, limit=10, mode="keyword"):
    hits = await search.search(SearchRequest(mode, limit=limit, text=question, embedding=vector("q")))
    return [hit.text for hit in hits]


def zipf_texts(count=600):
    """Return texts of made-up words, few of them common, of 5 to 120 words."""
    chance = random.Random(7)  # noqa: S311 (made-up texts)
    words = [f"w{chance.randrange(10**6):06d}x" for _ in range(2000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    return [" ".join(chance.choices(words, weights, k=chance.randint(5, 120))) for _ in range(count)]


@pytest.mark.parametrize("ranked_rows", [60, 100_000])
async def test_chunks_rank_as_bm25s_ranks_them(database, monkeypatch, ranked_rows):
    """However few of the common words' chunks are scored."""
    monkeypatch.setattr(lexical_leg, "RANKED_ROWS", ranked_rows)
    texts = zipf_texts()
    search = await searched(database, texts, language="simple")
    # titles are numbers of one word each: they make every chunk one word longer
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    peer.index([[*text.split(), str(number)] for number, text in enumerate(texts)], show_progress=False)
    chance, found, first = random.Random(8), 0, 0  # noqa: S311 (made-up questions)
    for _ in range(60):
        words = list(dict.fromkeys(chance.choice(texts).split()))
        question = chance.sample(words, k=min(6, len(words)))
        right = [texts[index] for index in peer.retrieve([question], k=10, show_progress=False)[0][0]]
        given = await by_words(search, " ".join(question))
        found += len({*right} & {*given})
        first += given[0] == right[0]
    assert found >= 0.95 * 600
    assert first >= 57


async def test_scores_are_those_of_the_formula(database):
    texts = zipf_texts(200)
    search = await searched(database, texts, language="simple")
    peer = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    peer.index([[*text.split(), str(number)] for number, text in enumerate(texts)], show_progress=False)
    for word in [word for text in texts[:10] for word in text.split()[:3]]:
        scores = {texts[index]: score for index, score in enumerate(peer.get_scores([word])) if score}
        hits = await search.search(SearchRequest("keyword", limit=200, text=word))
        assert {hit.text for hit in hits} == {*scores}
        # bm25s leaves out the constant factor k1 + 1; several of a word are weighed beside a typical length
        for hit in hits:
            assert hit.score == pytest.approx(2.5 * float(scores[hit.text]), rel=0.15)


async def test_words_are_found_before_anything_was_counted(database):
    search = await searched(database, ["the cat sat", "the dog ran", "cat and dog"], counted=False)
    assert (await by_words(search, "cats and dogs"))[0] == "cat and dog"
    assert set(await by_words(search, "cats")) == {"the cat sat", "cat and dog"}


@pytest.mark.parametrize("question", ["zyzzyva common", '"zyzzyva beetle" common words', 'what does "the" zyzzyva do'])
async def test_a_rare_word_is_found_beside_one_that_is_everywhere(database, monkeypatch, question):
    """Those with the rare one come last in the table, and more than are scored have the other."""
    monkeypatch.setattr(lexical_leg, "RANKED_ROWS", 20)
    monkeypatch.setattr(lexical_leg, "MAX_ROWS", 40)
    rare = [f"common words of a zyzzyva beetle, number {number}" for number in range(3)]
    search = await searched(database, [*(f"common words {number}" for number in range(200)), *rare])
    assert set((await by_words(search, question))[:3]) == {*rare}


async def test_words_that_fall_on_one_dimension_do_not_fail_a_search(database):
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT footnote.dimension('q115932') = footnote.dimension('q13995')")
    search = await searched(database, ["q115932 apple", "q13995 pear", "neither"], language="simple")
    assert len(await by_words(search, "q115932 q13995")) == 2


async def test_a_vector_without_a_direction_spoils_no_search(database):
    generation = await make_collection(database)
    await fill(database, generation, {"right": ("apple pie", {}), "other": ("pear", {})})
    made = document("zero", content="zero")
    (chunk,) = chunks(made, "apple of zeros")
    await Documents(database, generation=generation).write(
        made, [replace(chunk, embedding=np.zeros(DIMENSION, dtype="float32"))], replaces=None
    )
    search = ChunkSearch(database, generation=generation, settings=RetrievalSettings())
    for mode in ("hybrid", "vector"):
        hits = await search.search(
            SearchRequest(mode, limit=5, text="apple", embedding=vector("apple pie"), min_score=0.5)
        )
        assert [(hit.text, hit.scores["dense"]) for hit in hits] == [("apple pie", pytest.approx(1, abs=1e-5))]


IDENTIFIERS = [
    "set random_page_cost to 1.1 for disks that seek quickly",
    "the random cost of a page that is read",
    "a page that costs a random sum; random page, cost page",
    "part XJ-900-22B replaces part XJ-900-22A in all pumps",
    "part XJ-900-22A is sold with a pump; XJ, 900, 22B are marks",
    "std::vector<int> grows by doubling",
    "a vector of std quality",
    "C++ has templates; so does D",
    "vitamin C keeps; C is a letter, C is a note",
    "edit postgresql.conf and reload",
    "PostgreSQL has a conf of its own",
    "it listens on 192.168.10.7:5432 by default",
    "192 people, 168 chairs, 10 tables and 7 lamps, 5432 cups",
    "released as v15.0.2 in spring",
    "released as v15.2.0 in spring",
]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("what is random_page_cost?", IDENTIFIERS[0]),
        ("RANDOM_PAGE_COST", IDENTIFIERS[0]),
        ("which part replaces XJ-900-22A, is it XJ-900-22B?", IDENTIFIERS[3]),
        ("XJ-900-22B", IDENTIFIERS[3]),
        ("std::vector", IDENTIFIERS[5]),
        ("does C++ have them", IDENTIFIERS[7]),
        ("where is postgresql.conf", IDENTIFIERS[9]),
        ("who listens on 192.168.10.7", IDENTIFIERS[11]),
        ("what came with v15.2.0", IDENTIFIERS[14]),
        ("conf to reload", IDENTIFIERS[9]),  # and by its parts
    ],
)
async def test_identifiers_are_found_whole(database, question, text):
    search = await searched(database, IDENTIFIERS)
    assert (await by_words(search, question))[0] == text


PHRASES = [
    "you might need to raise shared memory, or you run out of disk",
    "ERROR: out of shared memory",
    "memory that is shared is out, out, out of bounds; memory, shared memory",
    "nothing of the kind",
]


@pytest.mark.parametrize("mode", ["keyword", "hybrid"])
@pytest.mark.parametrize("quotes", ['""', "“”", "„“", "«»"])
async def test_what_holds_a_quoted_phrase_comes_first(database, mode, quotes):
    texts = [*PHRASES, *(f"out of memory number {number}" for number in range(80))]
    search = await searched(database, texts)
    question = f"what does {quotes[0]}ERROR: out of shared memory{quotes[-1]} mean for memory?"
    found = await by_words(search, question, mode=mode, limit=20)
    assert found[0] == PHRASES[1]
    assert len(found) == 20  # the others follow


async def test_a_phrase_that_nobody_holds_changes_nothing(database):
    search = await searched(database, PHRASES)
    plain = await by_words(search, "shared memory number")
    assert await by_words(search, '"memory number" shared') == plain


async def test_all_of_several_phrases_come_before_one_of_them(database):
    texts = ["red apple here", "green pear here", "red apple and green pear", "apple red pear green"]
    search = await searched(database, texts)
    assert (await by_words(search, '"red apple" "green pear"'))[0] == texts[2]


def test_quotations_are_told_from_text():
    assert quoted_phrases('a "b c" d “ee” «f g» „hh“ 「東京」 "" "open') == ["b c", "ee", "f g", "hh", "東京"]
    assert quoted_phrases('"x"' * 3) == []  # one character is no phrase
    assert len(quoted_phrases(" ".join(f'"phrase {number}"' for number in range(100)))) == lexical_leg.MAX_PHRASES


WORDS = [
    "replication copies a database",
    "a partition of a table",
    "the planner estimates costs",
    "vacuum removes rows",
]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("replcation", WORDS[0]),  # one too few
        ("repllication", WORDS[0]),  # one too many
        ("replicatoin", WORDS[0]),  # two changed places
        ("rpelication", WORDS[0]),
        ("partirion", WORDS[1]),  # another letter
        ("planer", WORDS[2]),
        ("vaccum", WORDS[3]),
        ("vacum", WORDS[3]),
    ],
)
async def test_a_mistyped_word_means_the_nearest_one(database, question, text):
    search = await searched(database, WORDS)
    assert (await by_words(search, question))[0] == text


async def test_a_word_that_is_known_is_never_taken_for_another(database):
    texts = ["the planner plans", "the planter plants", "nothing else"]
    search = await searched(database, texts)
    assert await by_words(search, "planter") == [texts[1]]
    assert await by_words(search, "qqqqqqq") == []


GERMAN = ["Die Häuser der Straße sind größer geworden", "Ein Haus", "Der Hund bellt über den Zaun", "der die das und"]


async def test_german_words_are_found_by_their_stems(database):
    search = await searched(database, GERMAN, language="german")
    assert set(await by_words(search, "Welches Haus?")) == {GERMAN[0], GERMAN[1]}
    assert await by_words(search, "ÜBER ZÄUNE bellen") == [GERMAN[2]]
    assert await by_words(search, "die Strasse") == [GERMAN[0]]
    assert await by_words(search, "und der das") == []


# ruff: noqa: RUF001 (their punctuation)
CHINESE = [
    "东京都政府位于新宿区。",
    "北京是中华人民共和国的首都，人口众多。",
    "上海的首席执行官",
    "PostgreSQL数据库支持全文检索",
    "猫",
]


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("东京都政府在哪里？", CHINESE[0]),
        ("中国的首都是哪里", CHINESE[1]),
        ("全文检索", CHINESE[3]),
        ("数据库", CHINESE[3]),
        ("postgresql 数据", CHINESE[3]),
        ("「首席执行官」", CHINESE[2]),
        ("猫", CHINESE[4]),
    ],
)
async def test_chinese_is_found_by_pairs_of_characters(database, question, text):
    search = await searched(database, CHINESE, language="simple")
    assert (await by_words(search, question))[0] == text


@pytest.mark.parametrize(
    ("texts", "question", "right"),
    [
        (["東京都庁に行く", "京都に行く道", "サーバーを再起動する"], "サーバーの再起動", 2),
        (["서울은 대한민국의 수도이다", "부산은 항구 도시이다"], "대한민국 수도", 0),
        (["ＡＢＣ株式会社の製品", "別の会社"], "ABC株式会社", 0),  # wide letters are the usual ones
        (["the ﬁle system", "a profile"], "file", 0),
    ],
)
async def test_scripts_and_forms_of_letters(database, texts, question, right):
    search = await searched(database, texts, language="simple")
    assert (await by_words(search, question))[0] == texts[right]


async def test_chunks_of_any_kind_can_be_written_and_searched(database):
    texts = [
        "",
        "   ",
        "'\\ \" :* & | ! ( ) <->",
        "a-" * 50_000,
        "." * 10_000 + "x" + "." * 10_000,
        " ".join(f"word{number}" for number in range(30_000)),  # more lexemes than a sparse vector holds
        "字" * 20_000,
        "🦄 ünïcödé \u0301\u200b\ufeff",
        "x" * 5_000,
    ]
    search = await searched(database, texts)
    for question in (*(text[:8000] for text in texts), "word29999", "字字", '"a a a"', '"', '""', "a" * 8000):
        for mode in ("keyword", "hybrid"):
            await search.search(SearchRequest(mode, limit=5, embedding=vector("q"), text=question))
    assert await by_words(search, "word17") == [texts[5]]


async def test_a_count_is_made_anew_once_enough_came_and_forgets_what_went(database):
    generation = await make_collection(database)
    lexicon = Lexicon(database, generation=generation)
    assert not await lexicon.keep_up()  # nothing is there
    documents = await fill(database, generation, {f"d{number}": (f"apple pear{number}", {}) for number in range(20)})
    assert await lexicon.keep_up()
    assert not await lexicon.keep_up(stale_share=0)
    await fill(database, generation, {"one": ("apple cherry", {}), "two": ("apple cherry", {})})
    assert not await lexicon.keep_up()
    assert await lexicon.keep_up(stale_share=0)
    await documents.delete(document("d0").id)
    await fill(database, generation, {f"e{number}": ("apple fig", {}) for number in range(3)})
    assert await lexicon.keep_up()
    assert await counted(database, generation) == {"appl": 24, "cherri": 2, "fig": 3}
    async with database.connection() as connection:
        chunks = await connection.fetchval("SELECT chunks FROM footnote.lexicons")
    assert chunks == 24


async def counted(database, generation):
    async with database.connection() as connection:
        rows = await connection.fetch(
            "SELECT lexeme, chunks FROM footnote.lexicon WHERE generation_id = $1 AND lexeme !~ '[0-9]'", generation.id
        )
    return {
        row["lexeme"]: row["chunks"] for row in rows if len(row["lexeme"]) > 2 and row["lexeme"] not in {"one", "two"}
    }


async def test_two_who_count_at_once_do_not_wait_for_each_other(database):
    generation = await make_collection(database)
    await fill(database, generation, {"d": ("apple", {})})
    async with database.transaction() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"lexicon {generation.id}")
        assert not await Lexicon(database, generation=generation).keep_up()
    assert await Lexicon(database, generation=generation).keep_up()


async def test_nodes_that_llamaindex_adds_are_counted(database):
    from llama_index.core.schema import TextNode

    generation = await make_collection(database)
    store = ChunkStore(database, generation=generation, settings=RetrievalSettings())
    await store.async_add([TextNode(text="apple strudel", embedding=list(vector("apple strudel")))])
    assert (await counted(database, generation))["strudel"] == 1


async def test_a_lexicon_goes_with_its_generation(database):
    generation = await make_collection(database)
    await fill(database, generation, {"d": ("apple", {})})
    await Lexicon(database, generation=generation).keep_up()
    async with database.transaction() as connection:
        await chunk_tables.drop(connection, generation.id)
        await connection.execute("DELETE FROM footnote.generations WHERE id = $1", generation.id)
        assert await connection.fetchval("SELECT count(*) FROM footnote.lexicon") == 0


async def test_the_words_of_one_collection_say_nothing_of_another(database):
    """A rare word of a tenant's must not be known, or weighed, by what others have."""
    quiet = await make_collection(database, "quiet")
    await fill(database, quiet, {str(number): (f"apple {word}", {}) for number, word in enumerate(("pear", "fig"))})
    await Lexicon(database, generation=quiet).keep_up()
    search = ChunkSearch(database, generation=quiet, settings=RetrievalSettings())
    before = await search.search(SearchRequest("keyword", limit=5, text="apple fgi secretword"))
    loud = await make_collection(database, "loud")
    texts = {f"l{number}": (f"apple fig secretword{number}", {}) for number in range(50)}
    await fill(database, loud, texts)
    await Lexicon(database, generation=loud).keep_up()
    after = await search.search(SearchRequest("keyword", limit=5, text="apple fgi secretword"))
    assert [(hit.node_id, hit.score) for hit in after] == [(hit.node_id, hit.score) for hit in before]
