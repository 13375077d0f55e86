"""What a message is read as within a conversation where no model can rewrite it."""

import pytest

from server.engines.chat.follow_ups import MAX_LENGTH, searched_for

CRANE = "What does the crane cost?"


@pytest.mark.parametrize(
    ("message", "read_as"),
    [
        ("and the mobile one?", ("What does the mobile cost?", "the mobile?", f"{CRANE} the mobile?")),
        ("And on Windows?", ("What does the crane cost on Windows?", "on Windows?", f"{CRANE} on Windows?")),
        ("what about boats?", ("What does the boats cost?", "boats?", f"{CRANE} boats?")),
        ("und der mobile Kran?", ("What does der mobile Kran cost?", "der mobile Kran?", f"{CRANE} der mobile Kran?")),
        (
            "How big is it in winter?",
            ("How big is crane in winter?", f"{CRANE} How big is it in winter?", "How big is it in winter?"),
        ),
        ("How long is it?", ("How long is crane?", f"{CRANE} How long is it?")),
        ("which file types?", ("which file types?", f"{CRANE} which file types?")),
        ("mobile crane", ("What does the mobile crane cost?", f"{CRANE} mobile crane", "mobile crane")),
        ("where?", (f"{CRANE} where?",)),
        ("and why?", (f"{CRANE} why?",)),
        ("Who is the mayor of Paris today?", ("Who is the mayor of Paris today?",)),
    ],
)  # fmt: skip
def test_a_message_is_read_with_the_question_before_it_where_it_leans_on_that(message, read_as):
    assert searched_for(message, [CRANE]) == read_as


@pytest.mark.parametrize(
    ("turns", "read_as"),
    [
        (("How do I change the port?", "And the host?"), "How do I change the host?"),
        (("how much does a family pay", "and a junior?"), "how much does a junior pay"),
        (("What does the crane cost for guests?", "and for members?"), "What does the crane cost for members?"),
        (("who is the owner of kestrel", "and of old biscuit?"), "who is the owner of old biscuit"),
        (("who is the owner of kestrel", "and of old biscuit?", "where does it lie?"), "where does old biscuit lie?"),
        (("who owns the Kestrel?", "where does it lie?", "how long is it?"), "how long is Kestrel?"),
        (("who owns kestrel", "and sandpiper?"), "who owns sandpiper"),
        (("Which port?", "And the host?", "And the rest?"), "Which rest?"),
        (("does it work on mac", "and on Windows?"), "does it work on Windows"),
        (("What is Footnote?", "How does it work?"), "How does Footnote work?"),
        (("is the old biscuit insured", "who owns it?"), "who owns old biscuit?"),
        (("Wo ist der Schlüssel für den Gastank?", "und für die Küche?"), "Wo ist der Schlüssel für die Küche?"),
        (("Why? Tell me! Who rows?", "and on Windows?"), "on Windows?"),
    ],
)
def test_what_a_message_leaves_out_is_taken_from_the_questions_before_it(turns, read_as):
    assert searched_for(turns[-1], turns[:-1])[0] == read_as


def test_the_first_message_stands_alone():
    assert searched_for("and then?", []) == ("and then?",)


def test_two_questions_are_no_longer_than_one_may_be():
    (_, both) = searched_for("and boats?", ["x" * MAX_LENGTH])
    assert len(both) == MAX_LENGTH
    assert both.endswith("x boats?")
