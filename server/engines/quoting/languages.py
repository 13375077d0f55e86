"""Words that tell a question's language, and words that say only what kind of answer is wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping

from server.engines.quoting.words import Words

FUNCTION_WORDS: Mapping[str, frozenset[str]] = {
    language: frozenset(" ".join(words).split())
    for language, words in {
        "english": (
            "the of and to is are was were what which who how when where why does do did can with for from my i",
            "you it whose whom",
            "this that an be",
        ),
        "german": (
            "der die das den dem des ein eine einen einem ist sind war wer wie was wann wo warum welche welcher",
            "welches und",
            "oder nicht kann ich man wird werden beim vom von zu zum zur im auf für aus bei bis wenn zurzeit",
            "es gibt wem wen wessen wieviel wieviele mein meine unser unsere ihr",
        ),
        "french": (
            "le la les un une des du de et est sont que quel quelle quels quelles qui où quand comment pourquoi",
            "pour dans avec sur par je on il ils elle elles nous vous",
        ),
        "spanish": (
            "el la los las un una de del y es son qué que cuál cuáles quién cómo cuándo dónde por para con en se",
            "como",
        ),
    }.items()
}
"""By language: those that questions are made of, the commonest."""
ASKING = frozenset(
    {"what", "who", "how", "when", "where", "why", "which", "does", "can", "is", "are"}
    | {"wer", "wie", "was", "wann", "wo", "warum", "welche", "kann"}
)
"""Function words with which questions begin."""
_ALL_FUNCTION_WORDS = frozenset[str]().union(*FUNCTION_WORDS.values())

_GENERIC = (
    "default value option flag switch setting parameter directive command mean meaning definition many",
    "much long number",
    "list kind sort type happen difference differ without assume change otherwise possible allowed usual",
    "current use used",
    "better worse bigger larger greater smaller faster quicker slower stronger weaker stricter looser safer newer",
    "older higher lower longer shorter cheaper easier harder fewer less more",
    "anything something everything nothing anyone someone everyone thing way any some every else need want know tell",
    "explain describe show support supported",
    "please often cost price must may might would could shall",
    "darf dürfen muss müssen gibt doit doivent peut peuvent faut",
    "worth kostet kosten hoch",
    "using standardwert bedeutung unterschied anzahl wert valeur défaut montant prix valor",
)
_STEM = Words("english").stem
GENERIC = frozenset(" ".join(_GENERIC).split()) | frozenset(map(_STEM, " ".join(_GENERIC).split()))
"""Words, and stems of words, of a question that say what kind of answer is wanted rather than what about."""

_VAGUE_WORDS = (
    "about again all am anything been describe everything explain get go going had has have he help her here him his",
    "if in its just know look me mean means more next no not now of on our please say see she should show so some",
    "something tell than them then there these they thing things think those us use using very want way we will work",
    "working works would yes your",
    "bitte denn dir erklär erkläre erzähl es funktioniert geht hier ihr mal mehr mir noch sie so sowas uns worum",
    "ça cela ici peux tu esto eso aquí",
)
_VAGUE = _ALL_FUNCTION_WORDS.union(" ".join(_VAGUE_WORDS).split())

MEASURE = re.compile(r"\b(?:how|wie) (\w+)", re.IGNORECASE)
"""How large: the word says what kind of answer is wanted."""
_INVERSION = re.compile(
    r"(?<=\w)-(?:t-)?(?=(?:il|elle|ils|elles|on|je|tu|nous|vous|ce)\b)", re.IGNORECASE
)  # ``est-elle``, ``y a-t-il``: two words, no identifier


def without_inversion(question: str) -> str:
    """Return a French question with a blank between verb and pronoun."""
    return _INVERSION.sub(" ", question)


def is_generic(word: str, stem: str) -> bool:
    """Tell whether a word says only what kind of answer is wanted."""
    return word.lower() in GENERIC or stem in GENERIC


def is_vague(word: str) -> bool:
    """Tell whether a word, in whatever language, names no thing: a function word, or one such as ``work``."""
    return word.lower() in _VAGUE


def telling(bag: frozenset[str]) -> frozenset[str]:
    """Return the stems of a text that tell what it is about: none of function words, and no single letters."""
    return frozenset(word for word in bag if word not in _ALL_FUNCTION_WORDS and (len(word) > 1 or word.isdigit()))
