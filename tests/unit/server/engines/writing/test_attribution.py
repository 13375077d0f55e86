"""The passage behind an answer without a citation."""

import pytest

from server.engines.writing.attribution import passage_behind

PASSAGES = [
    "The lighthouse of Ostrava Bay was built in 1871 by the engineer Milada Novak.",
    "Sourdough bread rises for twelve hours before it is baked at 230 degrees.",
]


@pytest.mark.parametrize(
    ("answer", "number"),
    [
        ("It was Milada Novak.", 1),
        ("Built in 1871.", 1),
        ("It is baked at 230 degrees.", 2),
        ("It is baked at 220 degrees.", None),
        ("Mount Kilimanjaro is 5895 metres tall.", None),
        ("The lighthouse of Ostrava Bay was built by Napoleon, Caesar and Attila.", None),
        ("Yes.", None),
        ("", None),
    ],
)
def test_a_passage_stands_behind_an_answer_if_it_has_its_words_and_numbers(answer, number):
    question = "Who built the lighthouse of Ostrava Bay, and when?"
    assert passage_behind(answer, PASSAGES, language="english", question=question) == number


def test_of_no_passages_none_is_behind_anything():
    assert passage_behind("It was Milada Novak.", [], language="simple") is None
