"""What of the passages that were found is right."""

from __future__ import annotations

import pytest

from relevance.golden import GoldenPassage, GoldenQuestion
from relevance.judging import FoundPassage, holds, is_right, ranking


def found(source="a.md", start=0, end=100, text="text", document_id="id"):
    return FoundPassage(document_id, source, start, end, text)


@pytest.mark.parametrize(
    ("text", "answer", "expected"),
    [
        ("The port is 8000.", "8000", True),
        ("The port is 80001.", "8000", False),
        ("version 1500", "15", False),
        ("Built by\n  MILADA   Novak", "Milada Novak", True),
        ("der Straßenname", "strassenname", True),
        ("fi\ufb01nal", "ﬁ", False),
        ("(C++)", "C++", True),
        ("东京是日本的首都", "日本", True),
        ("stop words, stop", "stop", True),
        ("nonstop, then stop", "stop", True),
        ("nonstop", "stop", False),
        ("\uff11\uff12 apples", "12", True),
    ],
)
def test_an_answer_is_held_as_whole_words_whatever_its_case_and_white_space(text, answer, expected):
    assert holds(text, answer) is expected


def test_documents_are_ranked_by_their_best_passage_under_the_name_that_the_question_knows():
    golden = GoldenQuestion("q", documents=frozenset(["id-2", "b.md"]), grades={"b.md": 2})
    passages = [found("x.md", document_id="id-1"), found("y.md", document_id="id-2"), found("x.md", document_id="id-1")]
    made = ranking(golden, [*passages, found("b.md", document_id="id-3")], level="documents")
    assert made
    assert made.found == ("id-1", "id-2", "b.md")
    assert made.grades == {"id-2": 1, "b.md": 2}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 100, True), (100, 200, False), (50, 150, True), (51, 151, False), (20, 40, True), (0, 10_000, True)],
)
def test_a_passage_is_right_where_it_shares_half_of_the_shorter_range(start, end, expected):
    golden = GoldenQuestion("q", passages=(GoldenPassage("a.md", start=0, end=100),))
    assert is_right(golden, found(start=start, end=end)) is expected


def test_a_passage_of_another_document_is_not_right_however_its_range_fits():
    golden = GoldenQuestion("q", passages=(GoldenPassage("a.md", start=0, end=100),))
    assert not is_right(golden, found("b.md"))
    assert is_right(golden, found("b.md", document_id="a.md"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("before One  two three four after", True),
        ("two THREE", True),
        ("zero one two", True),
        ("three four five six", True),
        ("zero zero zero one", False),
        ("four five six seven", False),
        ("one three two four", False),
    ],
)
def test_a_passage_is_right_by_its_text_where_they_share_half_of_the_shorter_one(text, expected):
    golden = GoldenQuestion("q", passages=(GoldenPassage(text="one two three four"),))
    assert is_right(golden, found(text=text)) is expected


def test_an_answer_counts_only_in_a_document_that_is_named():
    golden = GoldenQuestion("q", documents=frozenset(["a.md"]), answers=("1871", "eighteen seventy-one"))
    assert is_right(golden, found(text="built in 1871"))
    assert not is_right(golden, found("b.md", text="built in 1871"))
    assert is_right(GoldenQuestion("q", answers=("1871",)), found("b.md", text="built in 1871"))


def test_a_second_passage_with_the_same_answer_takes_a_place_and_is_not_right_again():
    golden = GoldenQuestion("q", answers=("1871",))
    made = ranking(golden, [found(text="no"), found(text="1871"), found(text="1871 again")], level="passages")
    assert made
    assert made.found == ("found 0", "right 0", "found 2")
    assert made.grades == {"right 0": 1}


def test_a_passage_that_joins_two_right_ones_stands_for_both():
    golden = GoldenQuestion("q", passages=(GoldenPassage("a.md", 0, 50), GoldenPassage("a.md", 60, 100)))
    made = ranking(golden, [found(start=0, end=100)], level="passages")
    assert made
    assert made.found == ("right 0", "right 1")


def test_each_right_passage_is_to_be_found_and_answers_are_not_looked_at_beside_them():
    golden = GoldenQuestion("q", passages=(GoldenPassage("a.md", 0, 50), GoldenPassage("b.md", 0, 50)), answers=("x",))
    made = ranking(golden, [found("c.md", text="x"), found("b.md")], level="passages")
    assert made
    assert made.found == ("found 0", "right 1")
    assert set(made.grades) == {"right 0", "right 1"}


def test_nothing_is_right_for_an_unanswerable_question_and_it_is_ranked_on_no_level():
    golden = GoldenQuestion("q", unanswerable=True)
    assert not is_right(golden, found())
    assert ranking(golden, [found()], level="documents") is None
    assert ranking(golden, [found()], level="passages") is None
