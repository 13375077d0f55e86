"""What a message is read as within a conversation where no model can rewrite it."""

import pytest

from server.engines.chat.follow_ups import MAX_LENGTH, searched_for

CRANE = "What does the crane cost?"


@pytest.mark.parametrize(
    ("message", "read_as"),
    [
        ("and the mobile one?", ("the mobile?", f"{CRANE} the mobile?")),
        ("And on Windows?", ("on Windows?", f"{CRANE} on Windows?")),
        ("what about boats?", ("boats?", f"{CRANE} boats?")),
        ("und der mobile Kran?", ("der mobile Kran?", f"{CRANE} der mobile Kran?")),
        ("How big is it in winter?", (f"{CRANE} How big is it in winter?", "How big is it in winter?")),
        ("which file types?", ("which file types?", f"{CRANE} which file types?")),
        ("mobile crane", (f"{CRANE} mobile crane", "mobile crane")),
        ("where?", (f"{CRANE} where?",)),
        ("and why?", (f"{CRANE} why?",)),
        ("Who is the mayor of Paris today?", ("Who is the mayor of Paris today?",)),
    ],
)  # fmt: skip
def test_a_message_is_read_after_the_question_before_it_where_it_leans_on_that(message, read_as):
    assert searched_for(message, CRANE) == read_as


def test_the_first_message_stands_alone():
    assert searched_for("and then?", None) == ("and then?",)


def test_two_questions_are_no_longer_than_one_may_be():
    (_, both) = searched_for("and boats?", "x" * MAX_LENGTH)
    assert len(both) == MAX_LENGTH
    assert both.endswith("x boats?")
