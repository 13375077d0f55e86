"""What a question names and no passage mentions."""

import pytest

from server.engines.quoting.questions import understand, words_of
from server.engines.quoting.units import Source
from server.engines.quoting.unmentioned import Mentions
from server.engines.quoting.words import Words
from storage.search.word_weights import WordWeight

WORDS = Words("english")
TEXT = "The free space map of the kettle is kept in filesystem blocks. Set vault.lockTimeout to 30; parking is free."
MENTIONS = Mentions([Source(1, TEXT, title="The Aurora kettle", heading="Care")], words=WORDS)
KNOWN = WORDS.bag(f"{TEXT} The Aurora kettle Care toaster drop clean")


def asked(text, language="english"):
    weights = [
        WordWeight(word, stem, 3.0 if stem in KNOWN else 6.0, stem in KNOWN)
        for word in words_of(text)
        if word not in {"between", "its", "have"}  # the database leaves stop words out
        for stem in [WORDS.stem(word)]
    ]
    return understand(text, weights, words=WORDS, language=language)


@pytest.mark.parametrize(
    ("question", "missing"),
    [
        ("difference between the kettle and the toaster", ["toaster"]),
        ("parking and towing", ["towing"]),
        ("how is the kettle cleaned with Bluetooth", ["Bluetooth"]),
        ("what does vault.keepOpen do to the kettle", ["vault.keepOpen"]),
        ("what happens to the kettle in 1987", ["1987"]),
        ('how large is the "visibility map" of the kettle', ["visibility map"]),
    ],
)
def test_what_no_passage_mentions_is_named_as_it_was_written(question, missing):
    assert MENTIONS.unmentioned(asked(question)) == missing


@pytest.mark.parametrize(
    "question",
    [
        "does the kettle have a free space map",
        'what is the "free space maps" for',
        "kettles and parked cars",
        "care of the kettel and its blocks",
        "Aurora and the file system",
        "what does vault_lockTimeout do",
        "drop the kettle",
        "how much is parking",
        "what is set to 30",
        "Wie kocht man mit dem Kessel und was ist Bluetooth",
    ],
)
def test_inflections_typing_errors_compounds_verbs_and_foreign_questions_are_left_alone(question):
    assert MENTIONS.unmentioned(asked(question)) == []


def test_a_question_for_two_things_is_judged_by_the_one_that_is_mentioned():
    half = MENTIONS.mentioned_half(asked("warranty of the kettle and the blender"))
    assert [term.word for term in half.terms] == ["warranty", "kettle"]


@pytest.mark.parametrize("question", ["warranty of the blender and the mixer", "care of the kettle", "kettle and map"])
def test_a_question_of_which_neither_or_both_are_mentioned_stays_whole(question):
    assert MENTIONS.mentioned_half(asked(question)) == asked(question)
