"""Figures of `python -m benchmarks readers` count what they say."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.readers.benchmark import MADE
from benchmarks.readers.field import EXPECTED
from benchmarks.readers.scores import (
    agreed,
    joined,
    share_of_cells,
    share_of_neighbours,
    share_of_pages,
    share_of_words,
    words,
)
from benchmarks.readers.truth import Cell

FARE = [Cell("Adult", "12 crowns"), Cell("Child", "6 crowns")]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("| Route | Adult | Child |\n|---|---|---|\n| South | 12 crowns | 6 crowns |", 1),
        ("| Route | Adult | Child |\n|---|---|---|\n| 12 crowns | 6 crowns |", 0),
        ("|  |  |\n|---|---|\n| Adult | Child |\n| 12 crowns | 6 crowns |", 1),
        ("| Adult | Child |\n\n| 12 crowns | 6 crowns |", 0),
        ("Route: South\nAdult: 12 crowns\nChild: 16 crowns", 0.5),
        ("Adult Child\n12 crowns 6 crowns", 0),
    ],
)
def test_a_cell_is_right_in_its_column_or_beside_its_name(text: str, share: float) -> None:
    assert share_of_cells(FARE, text) == share


def test_words_are_compared_without_ligatures_hyphenation_and_markdown() -> None:
    assert words("The \ufb01rst **max\\_pumps** of_x cost 12,50 well\u00adknown") == [
        "the", "first", "max_pumps", "of_x", "cost", "12,50", "wellknown",
    ]  # fmt: skip


def test_words_divided_at_a_line_end_are_one_with_or_without_their_hyphen() -> None:
    assert joined("well-\n  known inter-\nnational e-mail") == joined("well-known international email")


def test_a_glued_or_missing_word_is_not_found_and_one_twice_counts_twice() -> None:
    wanted = words("400.01 3 pier pier")
    assert share_of_words(Counter(wanted), words("400.013 pier")) == 0.25
    assert share_of_words(Counter(wanted), words("pier 3 pier 400.01")) == 1


def test_neighbours_fall_when_columns_are_interleaved() -> None:
    wanted = words("a b c d e f")
    assert share_of_neighbours(wanted, words("d e f a b c")) == 0.8
    assert share_of_neighbours(wanted, words("a d b e c f")) == 0


def test_a_page_counts_if_its_text_is_there_and_nowhere_else() -> None:
    assert share_of_pages(["one fish", "two fish"], ["say one fish", "say two fish"]) == 1
    assert share_of_pages(["one fish", "two fish"], ["one fish two fish"]) == 0.5
    assert share_of_pages(["one fish", "two fish"], ["one fish", "one fish two fish"]) == 0.5


def test_the_reference_is_what_two_others_have_as_often_as_most_have_it() -> None:
    assert agreed([{"a": 2, "b": 1}, {"a": 3, "c": 1}, {"c": 1}]) == Counter({"a": 2, "c": 1})
    assert agreed([{"a": 9}, {"a": 9}, {"a": 1}, {"a": 1}, {"a": 1}]) == Counter({"a": 1})
    assert agreed([{"a": 1}]) == Counter()


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_has_a_truth_in_which_each_value_stands_once(name: str) -> None:
    data, truth = MADE[name]()
    assert data
    assert truth.words or truth.cells
    assert len({cell for cell in truth.cells if not cell.value.isalpha()}) == sum(
        not cell.value.isalpha() for cell in truth.cells
    )


def test_an_expectation_is_met_by_the_text_and_not_by_what_it_rules_out() -> None:
    expected = EXPECTED["cells-same-line.pdf"]
    assert expected.is_met(["200.01 1\n400.01  3\n800.01 7"])
    assert not expected.is_met(["200.01\n1\n400.013\n800.017"])
    assert not EXPECTED["pages.pdf"].is_met(["Fact 1-0: Fact 2-0: "])
