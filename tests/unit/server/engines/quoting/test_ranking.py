"""Which unit wins by words and form, and how an answer is put together."""

from dataclasses import replace

import numpy as np
import pytest

from server.engines.quoting.composing import MOST, ROOM, composed, quoted
from server.engines.quoting.questions import understand, words_of
from server.engines.quoting.ranking import EMBEDDED, Ranked, by_vectors, by_words, coverage, features
from server.engines.quoting.refusal import BY_WORDS, best_coverage, is_small_talk, refuses
from server.engines.quoting.units import Source, Unit, units
from server.engines.quoting.words import Words
from storage.search.word_weights import WordWeight

WORDS = Words("english")
VAULT = """\
## Doors

A vault has doors of brass and of steel. Its doors are oiled once a week, by hand.

vault.doors

How many doors a vault may have. The default is 12.

vault.hinges

How many hinges a door has. The default is 3.

Valid finishes are:

- matt
- bright
- black
"""


def asked(text):
    weights = [WordWeight(word, WORDS.stem(word), 3.0, True) for word in words_of(text)]
    return understand(text, weights, words=WORDS, language="english")


def best(question, text=VAULT):
    return by_words(asked(question), units([Source(1, text)]), words=WORDS)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("default of vault.doors", "vault.doors: The default is 12."),
        ("how many hinges does a door have if I don't change it", "vault.hinges: The default is 3."),
        ("which finishes are valid", "Valid finishes are: matt; bright; black"),
        ("how often are the doors oiled", "Its doors are oiled once a week, by hand."),
    ],
)
def test_the_unit_that_answers_a_kind_of_question_is_among_the_first(question, answer):
    assert answer in [each.unit.shown for each in best(question)[:2]]


def test_what_stands_first_below_a_heading_that_asks_the_same_answers_best():
    text = """# Operations

## How do I stop the vault?

Turn the key. A vault that is told to stop lets those out who are in it, and then the vault is to stop for good.
"""
    assert best("how do I stop the vault?", text)[0].unit.text == "Turn the key."
    other = text.replace("How do I stop the vault?", "Keys")
    assert best("how do I stop the vault?", other)[0].unit.text.startswith("A vault that is told to stop")


def test_a_sentence_that_asks_is_no_answer_and_code_answers_what_is_to_be_done():
    text = "# Vault\n\nWhat is the vault made of?\n\n    vault --made-of=brass\n\nThe vault is made of brass.\n"
    assert best("what is the vault made of?", text)[0].unit.text == "The vault is made of brass."
    assert not any(each.unit.text.endswith("?") for each in best("what is the vault made of?", text))


def test_no_more_units_are_embedded_than_words_chose():
    text = "\n\n".join(f"Sentence number {number} talks of doors." for number in range(60))
    assert len(best("doors", text)) == EMBEDDED


def test_vectors_decide_among_what_words_like_equally():
    one, other = (Ranked(Unit("sentence", text, 1), 1.0, 0.5) for text in ("One.", "Other."))
    vectors = np.eye(2, dtype=np.float32)
    first, second = by_vectors([one, other], question=vectors[1], vectors=vectors)
    assert (first.unit.text, first.cosine, second.cosine) == ("Other.", 1.0, 0.0)


def ranked(*texts, scores=None):
    scores = scores or [10.0] * len(texts)
    return [Ranked(Unit("sentence", text, 1), score, 1.0) for text, score in zip(texts, scores, strict=True)]


def test_an_answer_is_a_few_short_units_and_never_a_part_of_one():
    long = "A long sentence about doors. " * 40
    assert [unit.text for unit in composed(ranked(long))] == [long]
    several = composed(ranked(*(f"Sentence {number} of some forty characters." for number in range(9))))
    assert len(several) == MOST
    assert sum(len(unit.text) for unit in composed(ranked(*(f"{n} " + "x" * 150 for n in range(4))))) <= ROOM


def test_what_is_much_worse_or_said_already_is_left_out():
    chosen = composed(ranked("The doors are of brass.", "of brass", "Nothing of it.", scores=[10, 9.5, 2]))
    assert [unit.text for unit in chosen] == ["of brass"] or [unit.text for unit in chosen] == [
        "The doors are of brass."
    ]
    assert composed([]) == []


def test_a_sentence_about_it_comes_with_the_one_that_says_what_it_is():
    unit = Unit("sentence", "It is of brass.", 1, before="The door is old.")
    assert quoted(unit) == "The door is old. It is of brass."
    assert quoted(Unit("sentence", "Brass it is.", 1, before="The door is old.")) == "Brass it is."


def test_a_term_that_the_sentence_names_itself_does_not_say_what_its_pronoun_means():
    unit = Unit("sentence", "This is the best lock.", 1, term="lock", before="Brass wards are cut by hand.")
    assert quoted(unit) == "Brass wards are cut by hand. This is the best lock."
    assert quoted(replace(unit, term="ward")) == "ward: This is the best lock."


def test_a_token_as_long_as_a_sentence_is_a_synopsis():
    flag = "[CO=NAME:VALUE:DOMAIN:lifetime:path]"
    assert features(asked("which flag"), Unit("sentence", flag, 1), words=WORDS)["synopsis"]
    assert not features(asked("which flag"), Unit("sentence", "CO=NAME", 1), words=WORDS)["synopsis"]


def test_coverage_is_a_share_of_the_question_s_weight():
    question = asked("brass doors")
    assert coverage(question, WORDS.bag("a door of brass")) == 1.0
    assert coverage(question, WORDS.bag("a door")) == 0.5
    assert coverage(question, frozenset()) == 0.0


def covered(question):
    return best_coverage(asked(question), units([Source(1, VAULT)]), words=WORDS)


def refused(question, *, cosine=None, model="unknown", rate=0.05):
    return refuses(asked(question), covered=covered(question), cosine=cosine, model=model, rate=rate)


def test_a_question_of_other_things_is_refused_and_one_of_these_is_not():
    assert refused("capital of Mongolia")
    assert not refused("how many doors may a vault have")
    assert not refused("capital of Mongolia", rate=0)


def test_where_words_are_few_the_vectors_help_to_decide():
    middling = asked("doors squirrels")
    chosen = {"covered": 0.5, "model": "all-MiniLM-L6-v2", "rate": 0.05}
    assert refuses(middling, cosine=0.1, **chosen)
    assert not refuses(middling, cosine=0.7, **chosen)


def test_of_a_question_in_another_language_only_the_vectors_tell():
    foreign = asked("Wer hat die Tür gebaut und wann?")
    assert foreign.is_foreign
    known = {"covered": 0.0, "model": "all-MiniLM-L6-v2", "rate": 0.05}
    assert refuses(foreign, cosine=0.1, **known)
    assert not refuses(foreign, cosine=0.5, **known)
    assert not refuses(foreign, cosine=0.1, covered=0.0, model="another model", rate=0.05)


def test_a_question_in_another_language_whose_words_the_passages_have_is_not_refused():
    foreign = asked("Wie hoch ist die Kaution?")
    assert foreign.is_foreign
    assert not refuses(foreign, cosine=0.0, covered=0.8, model="all-MiniLM-L6-v2", rate=0.05)


def test_a_word_that_a_small_collection_lacks_tells_less():
    def weights_of(most):
        found = [WordWeight("bring", "bring", most, False, False), WordWeight("dog", "dog", 0.8 * most, True, False)]
        terms = understand("can I bring my dog", found, words=WORDS, language="english").terms
        return {term.word: term.weight for term in terms}

    small, large = weights_of(3.0), weights_of(8.0)
    assert small["bring"] < small["dog"]
    assert large["bring"] > large["dog"]


def test_what_stands_in_a_table_s_first_column_is_quoted_where_a_list_is_asked_for():
    text = "| Office | Name |\n|---|---|\n| Chair | Ada |\n| Treasurer | Bo |\n"

    def first(question):
        return by_words(asked(question), units([Source(1, text)]), words=WORDS)[0].unit.text

    assert first("who is the treasurer") == "Office: Treasurer; Name: Bo"
    assert "Office: Chair, Treasurer" in {
        each.unit.text for each in by_words(asked("which offices are there"), units([Source(1, text)]), words=WORDS)
    }


def test_a_higher_rate_refuses_more():
    bars = [BY_WORDS.bar(rate) for rate in (0.01, 0.03, 0.05, 0.2, 0.3)]
    assert bars == sorted(bars)


@pytest.mark.parametrize(
    "text", ["Thanks!", "hello", "Danke schön.", "¡Hola!", "ok", "Merci beaucoup", "thx", "ok, thanks a lot!"]
)
def test_small_talk_is_told(text):
    assert is_small_talk(text)
    assert not is_small_talk(f"{text} How many doors?")


def test_words_of_other_languages_do_not_tell_that_nothing_answers():
    question = asked("doors squirrels")
    rare = {"covered": 0.0, "model": "all-MiniLM-L6-v2", "rate": 0.05}
    assert refuses(question, cosine=0.5, language="english", **rare)
    assert not refuses(question, cosine=0.5, language="german", **rare)
    assert refuses(question, cosine=0.1, language="german", **rare)
