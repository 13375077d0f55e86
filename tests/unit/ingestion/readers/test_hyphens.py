from __future__ import annotations

import pytest

from ingestion.readers.hyphens import Vocabulary


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a well-", "known man"), ("Use --no-", "cache"), ("state-of-the-", "art"), ("ISO-", "8601"), ("1990-", "1995"),
        ("Smith-", "Jones"), ("an e-", "mail"), ("a long-", "term plan"), ("x86-", "based"), ("/usr/", "share"),
    ],
)  # fmt: skip
def test_a_hyphen_that_belongs_to_the_word_stays(before: str, after: str) -> None:
    assert Vocabulary([], language="english").belongs(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("an inter-", "national"),
        ("the exam-", "ple"),
        ("imple-", "mentation,"),
        ("(docu-", "ment)"),
        ("INTER-", "NATIONAL"),
    ],
)
def test_a_hyphen_that_divides_a_word_goes(before: str, after: str) -> None:
    assert not Vocabulary([], language="english").belongs(before, after)


def test_what_the_document_writes_elsewhere_decides() -> None:
    assert Vocabulary(["the code-base"], language="english").belongs("a code-", "base")
    assert not Vocabulary(["the wellknown"], language="english").belongs("a well-", "known")


def test_german_compounds_are_joined() -> None:
    assert not Vocabulary([], language="german").belongs("die Hafen-", "meisterei")
    assert Vocabulary([], language="german").belongs("Nord-", "Ost")


@pytest.mark.parametrize("after", ["und Ausfuhr", "oder Ausfuhr", "bzw. Ausfuhr"])
def test_a_hyphen_before_a_conjunction_stands_for_the_rest_of_the_word(after: str) -> None:
    assert Vocabulary([], language="german").suspends("die Ein-", after)
    assert Vocabulary([], language="simple").suspends("die Ein-", after)


@pytest.mark.parametrize(
    ("before", "after"), [("a pota-", "to is"), ("thous-", "and men"), ("an is-", "land"), ("x-", "or y")]
)
def test_a_word_that_ends_as_a_conjunction_is_divided_all_the_same(before: str, after: str) -> None:
    assert not Vocabulary([], language="english").suspends(before, after)
