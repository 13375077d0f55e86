"""In which language it is said that nothing was found."""

import pytest

from server.services.answers import NOTHING_FOUND, nothing_found


@pytest.mark.parametrize(
    ("question", "collection", "said_in"),
    [
        ("Wer hat am Sonntag Dienst?", "german", "german"),
        ("Dienst Sonntag", "german", "german"),
        ("Dienst Sonntag", "english", "english"),
        ("What is the emergency number of the house?", "german", "english"),
        ("Qui est de garde le dimanche dans la maison ?", "german", "french"),
        ("xyz", "dutch", "english"),
    ],
)
def test_a_question_whose_words_tell_no_language_is_answered_in_the_collection_s(question, collection, said_in):
    assert nothing_found(question, collection) == NOTHING_FOUND[said_in]
