"""Greetings, thanks and requests for help around a question."""

import re

import pytest

from server.engines.quoting.refusal import without_courtesies

QUESTION = "how do I change the port?"


@pytest.mark.parametrize(
    "said",
    [
        "Hello, how do I change the port?",
        "hi how do I change the port?",
        "Good morning everyone – how do I change the port?",
        "Dear assistant: how do I change the port? Many thanks in advance!",
        "how do I change the port? Thanks!",
        "Can you help me? how do I change the port?",
        "Hi! I have a question. how do I change the port? Thank you very much.",
        "Hallo zusammen, how do I change the port? Vielen Dank im Voraus",
        "Could anybody please help me out with this? how do I change the port? Cheers",
        "What do the documents say about how do I change the port?",
    ],
)
def test_what_is_only_polite_is_left_out(said):
    assert without_courtesies(said) == QUESTION


@pytest.mark.parametrize(
    "said",
    [
        "What do the documents say about “Income”?",
        "what does my file say on Income",
        "Was steht in den Dokumenten über „Income“?",
        "Que disent les documents au sujet de « Income » ?",
        "¿Qué dicen los documentos sobre «Income»?",
    ],
)
def test_of_a_question_what_documents_say_the_matter_is_left(said):
    assert re.findall(r"\w+", without_courtesies(said)) == ["Income"]


@pytest.mark.parametrize(
    "said",
    [
        QUESTION,
        "What do documents cost?",
        "hello world example",
        "Thanks!",
        "Hello",
        "Who thanks whom in the foreword?",
        "What does the help option do?",
        "Hi-Res pictures in the catalogue",
        "Dank wem wurde der Hafen gebaut?",
        "Can you help a boat that has lost its mast?",
    ],
)
def test_everything_else_stays(said):
    assert without_courtesies(said) == said
