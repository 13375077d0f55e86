"""List items, code and rows are whole in a chunk, unless they alone exceed it."""

from __future__ import annotations

import time

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st
from support.tokenizing import WORDPIECE

from ingestion.chunking.blocks import blocks
from ingestion.chunking.splitter import split
from ingestion.types import Chunk, Extracted, Heading

PROSE = "Some prose stands here. It goes on for a while. "


def chunks(text: str, *, max_tokens: int = 128, overlap: int = 0) -> tuple[Chunk, ...]:
    headings = tuple(
        Heading(found.start(), len(found[1]), found[2]) for found in regex.finditer(r"(?m)^(#+) (.*\S)", text)
    )
    return split(
        Extracted(text, title="T", headings=headings), tokenizer=WORDPIECE, max_tokens=max_tokens, overlap=overlap
    )


def found(text: str) -> list[tuple[str, str]]:
    return [(block.kind, text[block.start : block.end].strip()) for block in blocks(text, 0, len(text))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- one\n  goes on.\n\n  And on.\n- two", [("item", "- one\n  goes on.\n\n  And on."), ("item", "- two")]),
        ("1. one\nlazily\n\nProse.", [("item", "1. one\nlazily"), ("prose", "Prose.")]),
        ("- Done.\nProse of a page.", [("item", "- Done."), ("prose", "Prose of a page.")]),
        ("- a:\n  ```\n  - no item\n  ```\n- b", [("item", "- a:\n  ```\n  - no item\n  ```"), ("item", "- b")]),
        ("- a\n  - inner\n# Heading", [("item", "- a"), ("item", "- inner"), ("prose", "# Heading")]),
        ("```\n| a |\n|---|\n- b\n```\nText.", [("code", "```\n| a |\n|---|\n- b\n```"), ("prose", "Text.")]),
        ("~~~~\n~~~\n~~~~", [("code", "~~~~\n~~~\n~~~~")]),
        ("```\nunclosed\n\n- item", [("prose", "```\nunclosed"), ("item", "- item")]),
        ("Cap:\n\n| a |\n|---|\n| b |\nText.", [("table", "Cap:\n\n| a |\n|---|\n| b |"), ("prose", "Text.")]),
        ("| b |\n| c |\n\nText.", [("table", "| b |\n| c |"), ("prose", "Text.")]),
        ("- x\n\n  | a |\n  |---|\n  | b |", [("item", "- x"), ("table", "| a |\n  |---|\n  | b |")]),
        ("a: b. C\nd: e\n\nf: g\nh.", [("row", "a: b. C\nd: e"), ("prose", "f: g\nh.")]),
        ("Say:\na: b\nc: d", [("prose", "Say:\na: b\nc: d")]),
        ("a | b\n\n--- | ---\n", [("prose", "a | b\n\n--- | ---")]),
        ("| - | - |\n|---|---|\n| - | - |\n| 1 | 2 |", [("table", "| - | - |\n|---|---|\n| - | - |\n| 1 | 2 |")]),
    ],
)
def test_blocks(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(kind, shown) for kind, shown in found(text) if shown] == expected


def test_list_items_are_whole() -> None:
    items = [f"- Item {n} is here. It has two sentences,\n  and a line more.\n\n  And a paragraph." for n in range(30)]
    text = PROSE + "\n\n" + "\n".join(items)
    made = chunks(text, overlap=16)
    assert len(made) > 5
    assert all(any(item in chunk.text for chunk in made) for item in items)
    assert all(chunk.text.startswith(("Some prose", "- Item")) for chunk in made)


@pytest.mark.parametrize("before", range(1, 12))
def test_a_short_list_stays_with_the_sentence_that_leads_it_in(before: int) -> None:
    led = "These keys open it:\n\n- brass keys\n- steel keys\n- keys of bone"
    made = chunks(PROSE * before + "\n\n" + led + "\n\n" + PROSE * 6)
    assert any(led in chunk.text for chunk in made)


def test_the_first_item_of_a_long_list_stays_with_the_sentence_that_leads_it_in() -> None:
    items = "\n".join(f"- key number {n} of brass and steel" for n in range(40))
    made = chunks(PROSE * 9 + "These keys open it:\n\n" + items)
    assert any("These keys open it:\n\n- key number 0 " in chunk.text for chunk in made)


@pytest.mark.parametrize("before", range(1, 12))
def test_code_that_fits_is_whole(before: int) -> None:
    code = "```python\n" + "\n\n".join(f"value_{n} = measure({n})" for n in range(7)) + "\n```"
    made = chunks(PROSE * before + "\n\n" + code + "\n\n" + PROSE * 6)
    assert any(code in chunk.text for chunk in made)


def test_longer_code_is_cut_before_definitions() -> None:
    bodies = [f"def function_{n}(x):\n    y = x + {n}\n\n    return y" for n in range(20)]
    made = chunks("```python\n" + "\n\n".join(bodies) + "\n```")
    assert len(made) > 2
    assert all(any(body in chunk.text for chunk in made) for body in bodies)
    assert all(chunk.text.startswith(("```python", "def function_")) for chunk in made)


def test_code_without_definitions_is_cut_at_blank_lines_then_at_lines() -> None:
    parts = ["\n".join(f"    call(part_{n}, {m})" for m in range(6)) for n in range(9)]
    made = chunks("```\n" + "\n\n".join(parts) + "\n```")
    assert all(any(part.strip() in chunk.text for chunk in made) for part in parts)
    lines = [f"call(one_{n}, two)" for n in range(80)]
    made = chunks("```\n" + "\n".join(lines) + "\n```")
    assert all(any(line in chunk.text.split("\n") for chunk in made) for line in lines)


def test_an_unclosed_fence_is_text() -> None:
    sentences = [f"Sentence {n} of what follows stands here." for n in range(60)]
    made = chunks("```\ncode\n\n" + " ".join(sentences))
    assert all(any(sentence in chunk.text for chunk in made) for sentence in sentences)


def test_the_path_has_the_deepest_heading_though_levels_are_skipped() -> None:
    body = PROSE * 12
    made = chunks(
        f"# One\n\n{body}\n\n#### Deep\n\n{body}\n\n###### Deepest\n\n{body}\n\n## Two\n\n{body}", max_tokens=256
    )
    assert [chunk.heading for chunk in made] == ["One", "One > Deep", "One > Deep > Deepest", "One > Two"]


def test_a_heading_without_a_name_ends_the_one_before() -> None:
    text = f"{PROSE * 12}\n\n{PROSE * 12}"
    headings = (Heading(0, 1, "One"), Heading(text.index("\n\n") + 2, 1, ""))
    made = split(Extracted(text, title="T", headings=headings), tokenizer=WORDPIECE, max_tokens=256, overlap=0)
    assert [chunk.heading for chunk in made] == ["One", None]


MARKS = ["- ", "1. ", "  ", "\n", "\n\n", "```", "~~~~", "| a | b |", "|---|---|", "> ", "text. ", "Cap:", "# H"]


@given(st.lists(st.sampled_from(MARKS)).map("".join), st.sets(st.integers(0, 60), max_size=4).map(sorted))
def test_blocks_are_in_order_and_lose_nothing(text: str, rows: list[int]) -> None:
    end = 0
    for block in blocks(text, 0, len(text), rows=[(row, 1) for row in rows if row < len(text)]):
        assert end <= block.start <= block.body <= block.end
        assert not text[end : block.start].strip()
        end = block.end
    assert not text[end:].strip()


ENDLESS = [
    "```x\n",
    "~~~\n````\n",
    "- \n",
    "- a\n\n",
    "| a |\n",
    "|---|\n",
    "a | b\n-|-\n",
    "> ",
    "\n",
    "- - - ",
    "|-",
    ": ",
]


@pytest.mark.parametrize("part", ENDLESS)
def test_marks_without_end_take_little_time(part: str) -> None:
    text = part * (400_000 // len(part))
    began = time.process_time()
    assert list(blocks(text, 0, len(text)))
    assert time.process_time() - began < 4
