"""Which questions fit several places equally well."""

import pytest

from server.engines.quoting.composing import composed
from server.engines.quoting.questions import understand, words_of
from server.engines.quoting.ranking import by_words
from server.engines.quoting.readings import readings
from server.engines.quoting.units import Source, units
from server.engines.quoting.words import Words
from storage.search.word_weights import WordWeight

WORDS = Words("english")
KETTLE = Source(1, "The warranty lasts two years.", title="Kettle", heading="Kettle > Warranty", document="a")
TOASTER = Source(2, "The warranty lasts three years.", title="Toaster", heading="Toaster > Warranty", document="b")
LAMP = Source(3, "The warranty lasts five years.", title="Lamp", heading="Lamp > Warranty", document="c")


def asked(text):
    weights = [WordWeight(word, WORDS.stem(word), 3.0, True) for word in words_of(text)]
    return understand(text, weights, words=WORDS, language="english")


def ranked(question, *sources):
    return by_words(asked(question), units(sources), words=WORDS)


def numbers(question, *sources):
    found = readings(asked(question), ranked(question, *sources), sources, words=WORDS)
    return sorted(unit.number for unit in found)


@pytest.mark.parametrize("question", ["how long is the warranty", "warranty", "how long does the warranty last"])
def test_two_documents_that_say_different_things_are_two_readings(question):
    assert numbers(question, KETTLE, TOASTER) == [1, 2]


def test_three_documents_are_three_readings():
    assert numbers("how long is the warranty", KETTLE, TOASTER, LAMP) == [1, 2, 3]


@pytest.mark.parametrize(
    "question",
    [
        "how long is the warranty of the kettle",
        "is the warranty of the kettle longer than the toaster's",
        "which warranties are there",
        "how long is the guarantee for transport",
        "Wie lange gilt die Garantie und was ist der Preis",
    ],
)
def test_a_question_that_names_one_compares_lists_or_asks_of_something_else_has_no_two_readings(question):
    assert numbers(question, KETTLE, TOASTER) == []


def test_two_places_that_say_the_same_are_one_reading():
    same = Source(2, "The warranty lasts two years.", title="Toaster", heading="Toaster > Warranty", document="b")
    assert numbers("how long is the warranty", KETTLE, same) == []


def test_a_place_that_is_named_as_the_question_is_comes_first():
    aside = Source(2, "A warranty lasts three years.", title="Toaster", heading="Toaster > Else", document="b")
    assert numbers("how long is the warranty", KETTLE, aside) == []


def test_sections_of_one_document_are_readings_if_they_have_the_same_name_below_others():
    basic = Source(1, "The fee is 12 euros.", title="Tariffs", heading="Tariffs > Basic > Fees", document="a")
    premium = Source(2, "The fee is 30 euros.", title="Tariffs", heading="Tariffs > Premium > Fees", document="a")
    other = Source(2, "The fee is 30 euros.", title="Tariffs", heading="Tariffs > Basic > Late fees", document="a")
    assert numbers("what is the fee", basic, premium) == [1, 2]
    assert numbers("what is the fee", basic, other) == []


def test_both_readings_are_quoted_before_all_else():
    long = "The warranty lasts three years from the day on which the toaster was bought, or was given to somebody else."
    toaster = Source(2, f"{long} Keep it.", title="Toaster", heading="Toaster > Warranty", document="b")
    found = ranked("how long is the warranty", KETTLE, toaster)
    both = readings(asked("how long is the warranty"), found, [KETTLE, toaster], words=WORDS)
    assert len(both) == 2
    assert composed(found, readings=both)[:2] == [KETTLE_UNIT, *[unit for unit in both if unit.number == 2]]


KETTLE_UNIT = units([KETTLE])[0]
