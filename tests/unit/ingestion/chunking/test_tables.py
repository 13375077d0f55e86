"""Tables in chunks: whole rows, each chunk with the header, and the numbers of its rows."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from support.soak import examples
from support.tokenizing import BYTE_LEVEL, WORDPIECE
from tokenizers import Tokenizer

from ingestion.chunking.long_tables import with_repeated_headers
from ingestion.chunking.splitter import embed_text, split
from ingestion.readers import read
from ingestion.readers.tables.table import Table, as_markdown
from ingestion.types import Chunk, Extracted, Heading

FIELD = Path(__file__).parents[3] / "data" / "field" / "13-long-table-without-header"
HEADER = "| Part | Name | Pressure |\n| --- | --- | --- |\n"


def rows(count: int, first: int = 1) -> str:
    return "".join(f"| K-{n:04} | Valve {n} | {n * 3} |\n" for n in range(first, first + count))


def chunked(
    extracted: Extracted, *, tokenizer: Tokenizer = WORDPIECE, max_tokens: int = 128, overlap: int = 32
) -> tuple[Extracted, tuple[Chunk, ...]]:
    repeated = with_repeated_headers(extracted, tokenizer=tokenizer, max_tokens=max_tokens)
    made = split(repeated, tokenizer=tokenizer, max_tokens=max_tokens, overlap=overlap)
    for chunk in made:
        assert chunk.text == repeated.text[chunk.start : chunk.end]
        assert len(tokenizer.encode(embed_text(extracted.title, chunk))) <= max_tokens
    covered = bytearray(len(repeated.text))
    for chunk in made:
        covered[chunk.start : chunk.end] = b"\1" * (chunk.end - chunk.start)
    assert all(there or char.isspace() for char, there in zip(repeated.text, covered, strict=True))
    return repeated, made


def document(text: str, **fields: object) -> Extracted:
    headings = tuple(
        Heading(found.start(), len(found[1]), found[2].strip())
        for found in regex.finditer(r"^(#+) (.*\S.*)$", text, regex.MULTILINE)
    )
    return Extracted(text, **({"title": "A title", "headings": headings} | fields))  # type: ignore[arg-type]


def holding(made: tuple[Chunk, ...]) -> list[Chunk]:
    return [chunk for chunk in made if "| K-" in chunk.text]


def test_every_chunk_of_the_table_of_valves_has_its_header_and_whole_rows() -> None:
    path = FIELD / "long-table.md"
    source = read(path, data=path.read_bytes())
    _, made = chunked(source, max_tokens=256)
    seen: list[int] = []
    for chunk in holding(made):
        lines = chunk.text.splitlines()
        head = lines.index("| Part | Name | Pressure | Material | Stock |")
        table = [line for line in lines if line.startswith("|")]
        assert lines.index(table[0]) == head
        assert all(line in source.text for line in table)
        numbers = [int(line[4:8]) for line in table[2:]]
        assert (chunk.row, chunk.row_end) == (numbers[0], numbers[-1])
        seen += numbers
    assert seen == list(range(1, 121))
    assert all(chunk.text.startswith("| Part ") for chunk in made[1:])


def test_caption_and_header_fill_the_chunk_with_rows() -> None:
    table = Table(("Part", "Name"), tuple((f"K-{n:04}", f"Valve {n}") for n in range(80)), caption="Table 7. Valves.")
    _, made = chunked(document(f"# Valves\n\n{as_markdown(table)}\n"), overlap=0)
    assert all(chunk.text.startswith("Table 7. Valves.\n\n| Part | Name |\n| --- |") for chunk in made[1:])
    sizes = [len(WORDPIECE.encode(embed_text("A title", chunk))) for chunk in made[:-1]]
    assert min(sizes) > 105


def test_a_table_that_fits_is_not_cut() -> None:
    prose = " ".join(f"Sentence {n} says something." for n in range(12))
    text = f"{prose}\n\n{HEADER}{rows(5)}\n{prose}\n"
    same, made = chunked(document(text))
    assert same.text == text
    (chunk,) = holding(made)
    assert HEADER + rows(5).strip() in chunk.text


def test_a_table_over_two_pages_has_its_header_on_both() -> None:
    first, second = f"{HEADER}{rows(3)}", f"{rows(3, 4)}\nThe end.\n"
    repeated, made = chunked(Extracted(first + second, title="T", pages=(0, len(first))))
    assert [(chunk.page, chunk.page_end, chunk.row, chunk.row_end) for chunk in made] == [(1, 1, 1, 3), (2, 2, 4, 6)]
    assert made[1].text.startswith(HEADER + "| K-0004")
    assert repeated.text[repeated.pages[1] :].lstrip().startswith(HEADER)


def test_headings_pages_and_rows_stay_where_they_were() -> None:
    table = f"{HEADER}{rows(60)}\n"
    text = f"# One\n\n{table}# Two\n\nText of two.\n\n{table}# Three\n\nText of three.\n"
    source = document(text, pages=(0, text.index("# Two"), text.index("# Three")))
    repeated, made = chunked(source)
    assert len(repeated.text) > len(text)
    for heading in repeated.headings:
        assert repeated.text[heading.offset :].startswith(f"# {heading.text}\n")
    assert [repeated.text[page : page + 5] for page in repeated.pages] == ["# One", "# Two", "# Thr"]
    assert all(repeated.text.startswith(f"| K-{number:04} |", start) for start, number in repeated.rows)
    assert {chunk.page for chunk in made if chunk.heading == "Two"} == {2}


def test_numbers_of_rows_are_the_readers() -> None:
    text = f"{HEADER}{rows(40)}"
    given_rows = tuple((found.start(), 101 + place) for place, found in enumerate(regex.finditer(r"\| K-", text)))
    _, made = chunked(document(text, rows=given_rows))
    assert [(chunk.row, chunk.row_end) for chunk in made] == [
        (int(found[0][4:8]) + 100, int(found[-1][4:8]) + 100)
        for found in (regex.findall(r"\| K-\d{4}", chunk.text) for chunk in made)
    ]


def test_a_chunk_of_two_tables_names_no_rows() -> None:
    _, (chunk,) = chunked(document(f"{HEADER}{rows(3)}\n{HEADER}{rows(3)}"), max_tokens=256)
    assert (chunk.row, chunk.row_end) == (None, None)


def test_prose_and_a_table_in_code_have_no_rows() -> None:
    fenced = f"```\n{HEADER}{rows(60)}```\n"
    repeated, made = chunked(document(fenced + "\nSome text.\n"))
    assert repeated.text == fenced + "\nSome text.\n"
    assert {chunk.row for chunk in made} == {None}


@pytest.mark.parametrize("columns", [30, 400])
def test_a_header_longer_than_a_third_of_a_chunk_is_shortened_or_left_out(columns: int) -> None:
    names = [f"Pressure of the pump in hall number {n}" for n in range(columns)]
    table = as_markdown(Table(tuple(names), tuple((f"K-{n:04}", "brass") for n in range(12))))
    repeated, made = chunked(document(table), max_tokens=256)
    assert len(repeated.text) < 2 * len(table)
    assert all(sum(f"K-{n:04}" in chunk.text for chunk in made) >= 1 for n in range(12))


def test_rows_longer_than_a_chunk_are_cut_and_others_are_not() -> None:
    text = HEADER + rows(2) + f"| K-0003 | {'word ' * 300}| 9 |\n" + rows(2, 4)
    _, made = chunked(document(text))
    assert all(any(line in chunk.text for chunk in made) for line in (rows(2) + rows(2, 4)).splitlines())
    assert {chunk.row for chunk in made if "word word" in chunk.text} >= {3}


def test_paragraphs_of_columns_and_values_stay_whole() -> None:
    paragraphs = [f"part: K-{n:04}\nname: Valve {n}. Made of brass. By hand.\npressure: {n * 3}" for n in range(40)]
    text = "\n\n".join(paragraphs)
    starts = [text.index(paragraph) for paragraph in paragraphs]
    source = Extracted(text, title="T", rows=tuple((start, place + 2) for place, start in enumerate(starts)))
    _, made = chunked(source, max_tokens=64, overlap=8)
    for chunk in made:
        inside = chunk.text.split("\n\n")
        assert set(inside) <= set(paragraphs)
        assert chunk.row is not None
        assert (chunk.row, chunk.row_end) == (paragraphs.index(inside[0]) + 2, paragraphs.index(inside[-1]) + 2)


@pytest.mark.parametrize("prefix", ["> ", "  ", "   "])
def test_tables_in_quotations_and_lists(prefix: str) -> None:
    lines = (HEADER + rows(60)).splitlines(keepends=True)
    before = "- An item:\n\n" if not prefix.strip() else ""
    _, made = chunked(document(before + "".join(prefix + line for line in lines)))
    assert len(holding(made)) > 4
    for chunk in holding(made):
        assert chunk.text.index("| Part |") < chunk.text.index("| K-")


def test_tables_without_outer_bars_and_with_dashes_for_values() -> None:
    text = "Part | Name\n--- | ---\n" + "".join(f"K-{n:04} | -\n" for n in range(60))
    _, made = chunked(document(text))
    assert len(made) > 2
    assert all(chunk.text.startswith("Part | Name\n") for chunk in made)
    dashes = "| a | b |\n|---|---|\n| K-0001 | x |\n| - | - |\n| K-0002 | y |\n"
    repeated, _ = chunked(document(dashes))
    assert [number for _, number in repeated.rows] == [1, 2, 3]


def test_another_table_right_below_is_a_table_of_its_own() -> None:
    repeated, _ = chunked(document(f"{HEADER}{rows(2)}| Other | Things |\n| --- | --- |\n| K-0009 | x |\n"))
    assert [number for _, number in repeated.rows] == [1, 2, 1]


def test_a_paragraph_is_no_caption() -> None:
    text = f"All valves were counted in May. They are of brass.\n\n{HEADER}{rows(60)}"
    repeated, _ = chunked(document(text))
    assert repeated.text.count("counted in May") == 1
    assert repeated.text.count("| Part |") > 3


CELL = st.text(st.sampled_from("abcdefg äß漢. 0123;,-x"), max_size=30).map(lambda cell: " ".join(cell.split()))
TABLE = st.integers(1, 6).flatmap(
    lambda width: st.tuples(
        st.lists(CELL, min_size=width, max_size=width),
        st.lists(st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=40),
        st.sampled_from(["", "Table 3. Of things.", "The things:"]),
    )
)
OTHER = st.sampled_from(
    [
        "# One",
        "## Two",
        "#### Deep",
        "Some prose. It has two sentences.",
        "- an item\n- another item. It goes on.\n  And on.",
        "```\ncode = 1\n\nmore()\n```",
        "Lead in:\n\n1. first\n2. second",
        "> quoted text. More.",
        "```\nunclosed",
        "| lonely |",
    ]
)


@settings(max_examples=examples(60), deadline=None)
@given(
    parts=st.lists(st.one_of(TABLE, OTHER), min_size=1, max_size=8),
    size=st.sampled_from([64, 128, 256]),
    breaks=st.sets(st.integers(0, 7)),
    tokenizer=st.sampled_from([WORDPIECE, BYTE_LEVEL]),
)
def test_every_row_is_whole_in_a_chunk_with_its_header(
    parts: list[str | tuple[list[str], list[list[str]], str]], size: int, breaks: set[int], tokenizer: Tokenizer
) -> None:
    text, pages, wanted = "", [0], list[tuple[str, str, str]]()
    unclosed = False
    for place, part in enumerate(parts):
        if place in breaks and text:
            pages.append(len(text))
        if isinstance(part, str):
            text += part + "\n\n"
            unclosed = unclosed or part == "```\nunclosed"
            continue
        names, cells, caption = part
        marked = [[f"R{place}x{n}", *row] for n, row in enumerate(cells)]
        table = as_markdown(Table((f"H{place}x", *names), tuple(map(tuple, marked)), caption=caption))
        wanted += [(line, f"H{place}x", line.split()[1]) for line in table.splitlines()[-len(cells) :]]
        text += table + "\n\n"
    _, made = chunked(document(text, pages=tuple(pages)), tokenizer=tokenizer, max_tokens=size)
    for line, header, mark in wanted:
        own = [chunk for chunk in made if f" {mark} " in chunk.text]
        if len(tokenizer.encode(line)) <= size // 2 and not unclosed:
            assert any(line in chunk.text for chunk in own)
            whole = next(chunk for chunk in own if line in chunk.text)
            assert header in whole.text or 16 * line.count("|") > size // 4
    for before, after in pairwise(made):
        assert before.start < after.start
        assert before.end < after.end
