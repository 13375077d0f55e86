"""The passage behind an answer without a citation."""

import pytest

from server.engines.writing.attribution import Attribution

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
    assert Attribution(PASSAGES, language="english", question=question).behind(answer) == number


def test_of_no_passages_none_is_behind_anything():
    assert Attribution([], language="simple").behind("It was Milada Novak.") is None


TWO = ["Codes 100-109 are internal errors.", "Codes 20-29 are syntax errors of the command.", "Nothing of that kind."]


@pytest.mark.parametrize(
    ("sentence", "numbers", "right"),
    [
        ("The codes 20-29 mean syntax errors.", [2], [2]),
        ("The codes 20-29 mean syntax errors.", [1], [2]),  # of the wrong passage
        ("The codes 20-29 mean syntax errors.", [1, 2, 3], [2]),  # of all that there are
        ("It was Napoleon.", [3], [3]),  # nobody knows
        ("Yes.", [1], [1]),
        ("The codes 20-29 mean syntax errors.", [7], [2]),
    ],
)
def test_a_footnote_is_of_the_passage_that_has_the_sentence(sentence, numbers, right):
    assert list(Attribution(TWO, language="english").checked(sentence, numbers)) == right


LONG = [
    "Backups run every night and are kept for 14 days on the secondary storage server.",
    "A restore needs root rights.",
]


@pytest.mark.parametrize(
    ("passages", "sentence", "number"),
    [
        (LONG, ", but a restore needs root", 2),
        (["The default theme is dark.", "TLS is enabled for the API unless switched off."], "TLS is on by default", 2),
        (["Yes, cookies are kept.", "TLS is enabled."], "Yes", 2),
        (
            ["There are 10,000 rows a query.", "Port 10000 is the limit of rows; a query"],
            "There are 10000 rows a query",
            1,
        ),
        (
            ["To restore, stop the service.", "Figure 2 shows how to restore and stop a service"],
            "2) To restore, stop the service",
            1,
        ),
    ],
)
def test_a_right_footnote_stays(passages, sentence, number):
    assert list(Attribution(passages, language="english", question="Is TLS enabled?").checked(sentence, [number])) == [
        number
    ]
