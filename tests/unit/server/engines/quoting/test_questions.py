"""What a question asks: its kinds, its language, and what each of its words is worth."""

import pytest

from server.engines.quoting.questions import (
    LEAST_WEIGHT,
    kinds_of,
    language_of,
    likely_language_of,
    looked_up,
    names_nothing,
    understand,
    words_of,
)
from server.engines.quoting.ranking import coverage
from server.engines.quoting.words import Words
from storage.search.word_weights import WordWeight

ENGLISH = Words("english")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("how many doors may a vault have", "number"),
        ("Wie viele Türen darf ein Tresor haben?", "number"),
        ("Combien de portes ?", "number"),
        ("¿Cuántas puertas tiene?", "number"),
        ("vault_doors default", "default"),
        ("Was ist der Standardwert von vault_doors?", "default"),
        ("how do I open the vault", "procedure"),
        ("Wie öffne ich den Tresor?", "procedure"),
        ("can the vault be opened twice", "yesno"),
        ("Kann man den Tresor öffnen?", "yesno"),
        ("which keys are allowed", "list"),
        ("what is a vault", "definition"),
        ("Qu'est-ce qu'un coffre ?", "definition"),
        ("what happens if the key breaks", "condition"),
        ("is brass weaker than steel", "comparison"),
        ("which flag keeps the file", "option"),
    ],
)
def test_kinds_of_questions_are_told_in_four_languages(text, kind):
    assert kind in kinds_of(text)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Who built the lighthouse of Ostrava Bay?", "english"),
        ("Wer hat den Leuchtturm gebaut und wann?", "german"),
        ("Quand le phare est construit dans la baie ?", "french"),
        ("¿Quién y cuándo construyó el faro de la bahía?", "spanish"),
        ("work_mem default", None),
        ("", None),
    ],
)
def test_a_question_s_language_is_told_by_its_function_words(text, language):
    assert language_of(text) == language


def test_identifiers_are_looked_up_whole_and_in_parts():
    words = words_of("Can the post-commit-Hook use work_mem?")
    assert {"post-commit-Hook", "post-commit", "commit-Hook", "post", "work_mem", "mem"} <= set(words)


def weight(word, *, known=True, lexeme=None, weight=5.0, misspelt=False):
    return WordWeight(word, lexeme or ENGLISH.stem(word), weight, known, misspelt)


def understood(text, *weights, language="english"):
    return understand(text, weights, words=Words(language), language=language)


def test_parts_count_only_where_the_whole_is_unknown():
    known = understood("work_mem", weight("work_mem", lexeme="work_mem"), weight("work"), weight("mem"))
    assert [term.stem for term in known.terms] == ["work_mem"]
    unknown = understood("work_mem", weight("work_mem", known=False), weight("work"), weight("mem"))
    assert [term.stem for term in unknown.terms] == ["work_mem", "work", "mem"]


def test_a_misspelt_word_stands_for_the_one_that_was_meant():
    (term,) = understood("lighthuose", weight("lighthuose", lexeme="lighthous", misspelt=True)).terms
    assert (term.stem, term.is_known) == ("lighthous", True)


def test_the_first_word_may_be_a_misspelt_one_that_asks():
    terms = understood(
        "hw do i delete a document", weight("hw", known=False), weight("delete"), weight("document")
    ).terms
    assert [term.word for term in terms] == ["delete", "document"]
    later = understood("delete the hw document", weight("hw", known=False), weight("document")).terms
    assert [term.word for term in later] == ["hw", "document"]


@pytest.mark.parametrize(
    ("text", "language"),
    [("ist es kostenlos?", "german"), ("who?", "english"), ("kubectl", None), ("die port is", None)],
)
def test_a_single_word_may_tell_which_language_to_answer_in(text, language):
    assert likely_language_of(text) == language


@pytest.mark.parametrize("word", ["config", "dir", "params", "highest", "internal", "organization"])
def test_a_known_word_has_the_stem_that_passages_have(word):
    (term,) = understood(word, weight(word, lexeme="as PostgreSQL has it")).terms
    assert term.stem in ENGLISH.bag(f"The {word} of the vault.")


def test_a_plainer_word_is_looked_up_too_and_tells_how_much_a_word_is_worth():
    assert looked_up("biggest vault", ENGLISH) == ["biggest", "vault", "maximum"]
    term, _ = understood(
        "biggest vault", weight("biggest", known=False, weight=9.0), weight("vault"), weight("maximum", weight=3.0)
    ).terms
    assert (term.word, term.stem, term.weight, term.is_known) == ("biggest", "maximum", 3.0, True)
    assert looked_up("biggest vault", Words("german")) == ["biggest", "vault"]


def test_a_french_inversion_is_two_words():
    assert words_of("Quand la porte est-elle fermée ?") == ["Quand", "la", "porte", "est", "elle", "fermée"]


def test_the_word_after_how_says_what_is_wanted():
    tall, vault = understood("how tall is the vault", weight("tall", known=False, weight=9.0), weight("vault")).terms
    assert tall.weight < vault.weight


def test_a_word_that_all_chunks_have_still_tells():
    (vault,) = understood("vault", weight("vault", weight=0.1)).terms
    assert vault.weight == LEAST_WEIGHT


def test_words_that_say_what_is_wanted_weigh_less_than_what_it_is_about():
    default, vault = understood("default vault", weight("default"), weight("vault")).terms
    assert default.weight < vault.weight / 2


def test_a_question_in_another_language_than_the_collection_s_is_told():
    text = "Wer hat den Leuchtturm gebaut?"
    assert understood(text, weight("Leuchtturm", known=False)).is_foreign
    assert not understood("Who built the lighthouse?", weight("lighthouse")).is_foreign
    # a collection without a language: its lexicon tells
    assert understood(text, weight("Wer", known=False), weight("den", known=False), language="simple").is_foreign
    assert not understood(text, weight("Wer"), weight("den"), language="simple").is_foreign


def test_stems_are_those_of_the_collection_s_language():
    assert Words("german").stem("Türen") == Words("german").stem("Tür")
    assert ENGLISH.bag("The doors opened") == {"the", "door", "open"}
    assert Words("simple").bag("doors") == {"doors"}
    assert ENGLISH.bag("config.d/x_y") == {"config.d/x_y", "configur", "d", "x", "y"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("How does it work?", True),
        ("what is this", True),
        ("Tell me more, please", True),
        ("Wie geht das denn?", True),
        ("???", True),
        ("How does billing work?", False),
        ("What is a VPN?", False),
        ("help desk", False),
        ("How much does it cost?", False),
        ("What is the default?", False),
        ("Wie geht es dem Kraken?", False),
    ],
)
def test_a_question_that_names_nothing_is_told(text, expected):
    assert names_nothing(text) is expected


@pytest.mark.parametrize(
    ("question", "verb", "passage"),
    [
        ("Who owns the boat?", "owns", "Owner: Okafor"),
        ("who runs it", "runs", "Its runner is Ada."),
        ("Whom did they appoint to translate?", "translate", "The translator is Bo."),
    ],
)
def test_who_does_something_may_be_a_noun_in_the_passage(question, verb, passage):
    asked = understood(question, weight(verb))
    assert coverage(asked, ENGLISH.bag(passage)) == 1.0
    what = understood(question.lower().replace("who", "what"), weight(verb))
    assert coverage(what, ENGLISH.bag(passage)) == (0.0 if verb != "translate" else 1.0)  # whose stem is the noun's
