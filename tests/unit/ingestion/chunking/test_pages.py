"""Chunks and pages: each sentence of a chunk begins on the chunk's page."""

from __future__ import annotations

from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from support.soak import examples
from support.tokenizing import WORDPIECE

from ingestion.chunking.splitter import split
from ingestion.readers import read
from ingestion.types import Chunk, Extracted, Heading, ReadOptions

FIELD = Path(__file__).parents[3] / "data" / "field" / "17-pages-of-passages"


def paged(*pages: str, headings: tuple[Heading, ...] = ()) -> Extracted:
    starts = tuple(sum(map(len, pages[:number])) for number in range(len(pages)))
    return Extracted("".join(pages), title="A title", pages=starts, headings=headings)


def chunks(extracted: Extracted, *, max_tokens: int = 256, overlap: int = 32) -> tuple[Chunk, ...]:
    return split(extracted, tokenizer=WORDPIECE, max_tokens=max_tokens, overlap=overlap)


def test_each_fact_is_cited_with_its_page() -> None:
    path = FIELD / "pages.pdf"
    extracted = read(path, data=path.read_bytes())
    made = chunks(extracted)
    facts = list(regex.finditer(r"Fact (\d+)-\d+: .*?\.(?=\s)", extracted.text))
    assert len(facts) >= 140
    for fact in facts:
        holding = [chunk for chunk in made if chunk.start <= fact.start() < chunk.end]
        assert {chunk.page for chunk in holding} == {int(fact[1])}
        assert any(fact[0] in chunk.text for chunk in holding)
    assert all(chunk.page == chunk.page_end for chunk in made)


def test_each_slide_is_a_passage() -> None:
    path = FIELD / "deck.pptx"
    made = chunks(read(path, data=path.read_bytes(), options=ReadOptions(hidden=True)))
    assert [(chunk.page, chunk.page_end) for chunk in made] == [(n, n) for n in range(1, 7)]


@pytest.mark.parametrize(
    "ends",
    [
        ("The keeper of the north light writes down every ship that\n", "passes. The next one."),
        (
            "Once a year the lights are counted. The keeper of the north light at the harbour\n",
            "Kelmouth writes it down.",
        ),
        (
            "The fleet had ships. In the spring of the year the harbour of the town had about\n",
            "40 boats. The next one.",
        ),
        (
            "Der Wärter schreibt jedes Schiff auf. Er hat dafür ein dickes Buch und auch eine\n",
            "Feder. Danach geht er.",
        ),
        ("He said (as they often\n", "\u201cdo\u201d in the harbour) never. The next one."),
    ],
)
def test_a_sentence_that_runs_over_the_end_belongs_to_the_page_where_it_begins(ends: tuple[str, str]) -> None:
    made = chunks(paged(*ends))
    tail, _, following = ends[1].partition(". ")
    assert [(chunk.page, chunk.page_end, chunk.text) for chunk in made] == [
        (1, 2, f"{ends[0]}{tail.rstrip('.')}."),
        *([(2, 2, following)] if following else []),
    ]


@pytest.mark.parametrize(
    "ends",
    [
        ("The gull was seen near buoy 7.\n\n", "The seal was seen near buoy 8."),
        ("Yearbook of the harbour\n", "The gull was seen near buoy 7."),
        (
            "The gull was seen. It flew.\nPage 1 of 12\n",
            "The seal was seen.",
        ),
        (
            "The gull was seen near the buoy at noon.\nProperty of the harbour office, not to be copied\n",
            "The seal sat.",
        ),
        ("Contents:\n", "what is told on this page."),
        ("He said \u201cno.\u201d\n", "then he left, without a word."),
        ("", "The seal was seen near buoy 8."),
    ],
)
def test_a_line_at_the_end_of_a_page_is_not_joined_with_the_next_page(ends: tuple[str, str]) -> None:
    extracted = paged(*ends)
    assert [(chunk.page, chunk.text) for chunk in chunks(extracted)] == [
        (number, end.strip()) for number, end in enumerate(ends, start=1) if end.strip()
    ]


def test_pages_without_a_full_stop_stay_apart() -> None:
    rows = "\n".join(f"{n} Valve of brass {n * 3} {n * 7}" for n in range(30))
    made = chunks(paged(*(f"{rows}\n" for _ in range(5))), max_tokens=64)
    assert {chunk.page for chunk in made} == {1, 2, 3, 4, 5}
    assert all(chunk.page == chunk.page_end for chunk in made)


def test_a_sentence_longer_than_a_chunk_is_cut_where_its_page_ends() -> None:
    made = chunks(paged("word " * 100, "word " * 100), max_tokens=64)
    assert all(chunk.page == chunk.page_end for chunk in made)


def test_small_sections_are_joined_on_their_page_alone() -> None:
    page = "# One\n\nShort.\n\n# Two\n\nShort too.\n\n"
    offsets = [0, page.index("# Two"), len(page), len(page) + page.index("# Two")]
    headings = tuple(Heading(at, 1, name) for at, name in zip(offsets, ["One", "Two"] * 2, strict=True))
    assert [(chunk.page, chunk.page_end) for chunk in chunks(paged(page, page, headings=headings))] == [(1, 1), (2, 2)]


def test_nothing_is_repeated_from_the_page_before() -> None:
    pages = [" ".join(f"Sentence {n} of page {page} stands here." for n in range(30)) + "\n" for page in range(4)]
    made = chunks(paged(*pages), max_tokens=64, overlap=32)
    for chunk in made:
        assert chunk.page is not None
        assert set(regex.findall(r"of page (\d)", chunk.text)) == {str(chunk.page - 1)}


PAGE = st.lists(st.integers(2, 40), max_size=8)


@settings(max_examples=examples(60), deadline=None)
@given(pages=st.lists(PAGE, min_size=1, max_size=6), over=st.booleans(), size=st.sampled_from([64, 128, 256]))
def test_every_sentence_of_a_chunk_begins_on_its_page(pages: list[list[int]], over: bool, size: int) -> None:
    texts: list[str] = []
    facts: list[tuple[int, str]] = []
    count, rest = 0, ""
    for number, lengths in enumerate(pages, start=1):
        shown = rest
        rest = ""
        for length in lengths:
            count += 1
            fact = f"Fact{count}q tells{' something' * length}."
            facts.append((number, fact))
            shown += fact + "\n"
        if over and lengths and number < len(pages):
            head, tail = shown[: -lengths[-1] * 5 - 4], shown[-lengths[-1] * 5 - 4 :]
            shown, rest = head.rstrip() + "\n", tail.lstrip()
        texts.append(shown)
    extracted = paged(*texts)
    made = chunks(extracted, max_tokens=size, overlap=16)
    for number, fact in facts:
        named = fact.partition(" ")[0]
        holding = [chunk for chunk in made if named in chunk.text]
        assert {chunk.page for chunk in holding} == {number}
    covered = {at for chunk in made for at in range(chunk.start, chunk.end)}
    assert all(char.isspace() or at in covered for at, char in enumerate(extracted.text))
    assert all(chunk.page and chunk.page_end and chunk.page <= chunk.page_end for chunk in made)
