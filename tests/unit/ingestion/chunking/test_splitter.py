from __future__ import annotations

import unicodedata
from itertools import pairwise

import pytest
import regex
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.soak import examples
from support.tokenizing import BYTE_LEVEL, WORDPIECE

from ingestion.chunking.context import context_line
from ingestion.chunking.sentences import sentences
from ingestion.chunking.splitter import embed_text, split
from ingestion.types import Chunk, Extracted, Heading

TOKENIZERS = {"wordpiece": WORDPIECE, "byte_level": BYTE_LEVEL}
MODEL = TOKENIZERS["wordpiece"]


def document(text: str, **fields: object) -> Extracted:
    headings = tuple(
        Heading(found.start(), len(found[1]), found[2].strip())
        for found in regex.finditer(r"^(#+) (.*\S.*)$", text, regex.MULTILINE)
    )
    return Extracted(text, **({"title": "A title", "headings": headings} | fields))  # type: ignore[arg-type]


def chunks(text: str, *, max_tokens: int = 256, overlap: int = 32, **fields: object) -> tuple[Chunk, ...]:
    return split(document(text, **fields), tokenizer=MODEL, max_tokens=max_tokens, overlap=overlap)


def tokens(text: str) -> int:
    return len(MODEL.encode(text))


NASTY = st.one_of(
    st.sampled_from(
        [
            " ",
            "\n",
            "\n\n",
            "\t",
            " ",
            "\u3000",
            "\x85",
            "\x1c",
            ".",
            ". ",
            "! ",
            "。",
            "\uff01",
            "\n# H\n",
            "\n## K\n",
            "\n- ",
            "| a |",
            "e.g. ",
            "Dr. ",
            "1. ",
            "…",
            "\u200d",
            "\u200b",
            "́",
            "️",
            "👨\u200d👩\u200d👧",
            "🇩🇪",
            "각",
            "न",
            "ि",
            "क्ष",
            "اَ",
            "今",
            "\uff41",
            "[SEP]",
            "[MASK] ",
            "##",
            "a" * 150,
            "ab" * 40,
            " " * 90,
            "x" + "́" * 40,
            "A sentence of words. ",
            "word ",
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=st.lists(NASTY, max_size=60),
    repeats=st.integers(1, 4),
    title=st.one_of(st.just("A title"), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300)),
    max_tokens=st.sampled_from([16, 17, 24, 64, 256]),
    overlap=st.sampled_from([0, 5, 32, 500]),
    family=st.sampled_from(sorted(TOKENIZERS)),
)
def test_chunks_are_slices_in_order_within_the_limit_and_lose_nothing(  # noqa: PLR0917 (hypothesis names them)
    parts: list[str], repeats: int, title: str, max_tokens: int, overlap: int, family: str
) -> None:
    text = unicodedata.normalize("NFC", "".join(parts) * repeats)
    tokenizer = TOKENIZERS[family]
    made = split(document(text, title=title), tokenizer=tokenizer, max_tokens=max_tokens, overlap=overlap)

    covered = bytearray(len(text))
    for place, chunk in enumerate(made):
        assert chunk.index == place
        assert chunk.text == text[chunk.start : chunk.end]
        assert chunk.text == chunk.text.strip() != ""
        assert len(tokenizer.encode(embed_text(title, chunk))) <= max_tokens
        covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
    assert [c.start for c in made] == sorted({c.start for c in made})
    assert [c.end for c in made] == sorted({c.end for c in made})
    assert not [char for char, there in zip(text, covered, strict=True) if not there and not char.isspace()]


@pytest.mark.parametrize("cluster", ["👨‍👩‍👧‍👦", "🇩🇪", "e\u0323\u0302\u031b", "क्षि", "각", "👍🏽"])
def test_no_cut_falls_inside_a_grapheme(cluster: str) -> None:
    text = cluster * 2000
    whole = {found.start() for found in regex.finditer(r"\X", text)} | {len(text)}
    made = chunks(text, max_tokens=32, overlap=0)
    assert len(made) > 1
    assert {place for chunk in made for place in (chunk.start, chunk.end)} <= whole


def test_no_sentence_is_cut_that_fits() -> None:
    text = " ".join(f"This is sentence number {n} of a text, e.g. one by Dr. Smith." for n in range(200))
    made = chunks(text)
    assert len(made) > 5
    for chunk in made:
        assert chunk.text.startswith("This is sentence")
        assert chunk.text.endswith("Smith.")


def test_chinese_and_japanese_sentences_are_told_apart() -> None:
    made = chunks("今天天气很好。我们去公园散步\uff01你呢\uff1f" * 60)
    assert len(made) > 1
    assert all(chunk.text[-1] in "。\uff01\uff1f" for chunk in made)


def test_a_chunk_repeats_whole_sentences_of_the_one_before() -> None:
    text = " ".join(f"Sentence {n} has a few words." for n in range(100))
    made = chunks(text, max_tokens=64, overlap=20)
    repeated = [text[after.start : before.end] for before, after in pairwise(made)]
    assert all(part.startswith("Sentence") and part.endswith(".") for part in repeated)
    assert max(tokens(part) - 2 for part in repeated) <= 20
    plain = chunks(text, max_tokens=64, overlap=0)
    assert all(before.end <= after.start for before, after in pairwise(plain))


def test_nothing_is_repeated_across_sections() -> None:
    body = " ".join(f"Sentence {n} has a few words." for n in range(40))
    made = chunks(f"# One\n\n{body}\n\n# Two\n\n{body}", max_tokens=64, overlap=20)
    two = next(chunk for chunk in made if chunk.heading == "Two")
    assert two.text.startswith("# Two")


def test_a_section_begins_a_chunk_and_the_path_of_headings_is_kept() -> None:
    body = " ".join(f"Words of sentence {n}." for n in range(20))
    made = chunks(f"# Guide\n\n## Backup\n\n{body}\n\n### Dump\n\n{body}\n\n## Restore\n\n{body}")
    assert [chunk.heading for chunk in made] == ["Guide > Backup", "Guide > Backup > Dump", "Guide > Restore"]
    assert made[0].text.startswith("# Guide\n\n## Backup")


def test_small_neighbouring_sections_become_one_chunk() -> None:
    text = "# List\n\n" + "\n\n".join(f"## Item {n}\n\nShort." for n in range(60))
    made = chunks(text)
    assert min(tokens(chunk.text) for chunk in made) > 60
    assert {chunk.heading for chunk in made} == {"List"}


def test_the_last_chunk_of_a_section_is_no_crumb() -> None:
    for count in range(30, 60):
        made = chunks(" ".join(f"Sentence {n} has some words." for n in range(count)), max_tokens=128, overlap=0)
        assert min(tokens(chunk.text) for chunk in made) >= 32


def test_a_chunk_knows_the_page_it_begins_on() -> None:
    page = " ".join(f"Sentence {n} stands here." for n in range(60)) + "\n"
    made = chunks(page * 3, pages=(0, len(page), 2 * len(page)))
    assert made[0].page == 1
    assert made[-1].page == 3
    assert [chunk.page for chunk in made] == [1 + chunk.start // len(page) for chunk in made]
    assert chunks(page)[0].page is None


def test_a_title_too_long_for_the_model_leaves_room_for_the_text() -> None:
    title = "汉" * 300
    (chunk,) = chunks("Some text.", title=title, max_tokens=64)
    assert tokens(embed_text(title, chunk)) <= 64
    assert embed_text(title, chunk).endswith("汉\nSome text.")


def test_the_line_above_a_passage_says_nothing_twice() -> None:
    assert context_line("Guide", None) == "Guide"
    assert context_line("Guide", "Guide > Backup") == "Guide > Backup"
    assert context_line("Manual", "Guide > Backup") == "Manual > Guide > Backup"
    assert context_line("Guide", "Guide") == "Guide"


@pytest.mark.parametrize(
    "text",
    [
        "a" * 400_000,
        "." * 200_000,
        "a" + " " * 1_000_000 + "b",
        "x" + "\n" * 500_000 + "x",
        "x;" * 100_000,
        "今" * 60_000,
    ],
)
def test_text_without_a_place_to_cut_makes_chunks_of_bounded_length(text: str) -> None:
    made = chunks(text)
    assert max(len(chunk.text) for chunk in made) <= 256 * 24
    assert made[0].start == 0
    assert made[-1].end == len(text)


def test_an_empty_text_has_no_chunks() -> None:
    assert chunks(" \n ") == ()


def test_a_limit_too_small_for_any_passage_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        chunks("text", max_tokens=15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two? Three! Four", ["One.", "Two?", "Three!", "Four"]),
        (
            "See e.g. The Book by J. R. Smith et al. 2020. Next.",
            ["See e.g. The Book by J. R. Smith et al. 2020.", "Next."],
        ),
        ("Version 3.11 is out. it stays", ["Version 3.11 is out. it stays"]),
        ('He said "Stop." Then left.', ['He said "Stop."', "Then left."]),
        ("Wrapped\nline of prose.\n\nNew one", ["Wrapped\nline of prose.", "New one"]),
        ("Points:\n- one\n- two\n1. three", ["Points:", "- one", "- two", "1. three"]),
        ("| a | b |\n| c | d |", ["| a | b |", "| c | d |"]),
        ("你好。再见\uff01", ["你好。", "再见\uff01"]),
        (
            "Nicht genommener Urlaub verfällt am 31. März des Folgejahres. Danach nicht.",
            ["Nicht genommener Urlaub verfällt am 31. März des Folgejahres.", "Danach nicht."],
        ),
        ("Am 3. Oktober ruht alles. Der 1. Advent kam.", ["Am 3. Oktober ruht alles.", "Der 1. Advent kam."]),
        ("Nur vom 1. bis 31. August. Dann nie.", ["Nur vom 1. bis 31. August.", "Dann nie."]),
        ("Am 31. 12. 2024 schloss er. Der 2. Senat kam.", ["Am 31. 12. 2024 schloss er.", "Der 2. Senat kam."]),
        ("Es galt § 5 Abs. 2 Satz 1. Es kam Nr. 5.", ["Es galt § 5 Abs. 2 Satz 1.", "Es kam Nr. 5."]),
        ("Tiere, z. B. Hunde, d. h. Haustiere. Vgl. Bd. 2.", ["Tiere, z. B. Hunde, d. h. Haustiere.", "Vgl. Bd. 2."]),
        ("Voir art. 5 et p. 12. M. Dupont le dit.", ["Voir art. 5 et p. 12.", "M. Dupont le dit."]),
        ("She turned 31. August was hot. He won 12. Then", ["She turned 31.", "August was hot.", "He won 12.", "Then"]),
        ("It cost 12. 10.50 was due.", ["It cost 12.", "10.50 was due."]),
        ("Er starb 1931. Mai kam. Sie war 31. Dann", ["Er starb 1931.", "Mai kam.", "Sie war 31.", "Dann"]),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[start:end] for start, end in sentences(text, 0, len(text))] == expected
