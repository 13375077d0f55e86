"""What a question asks: its kinds, its language, and how much each of its words tells."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from server.engines.quoting.kinds import ASKED, Kind
from server.engines.quoting.languages import ASKING, FUNCTION_WORDS, MEASURE, is_generic, is_vague, without_inversion
from server.engines.quoting.words import PART, TOKEN, Words

if TYPE_CHECKING:
    from storage.search.word_weights import WordWeight

GENERIC_WEIGHT = 0.25
LEAST_WEIGHT = 1.0  # of a word that nearly all chunks have: in a small collection that is all about it, it still tells
FUNCTION_WORD_TYPO = 0.85  # similarity, as difflib has it: ``wich`` and ``which``
FIRST_WORD_TYPO = 0.8  # of the first word, which asks: ``hw`` and ``how``
LARGE = 7.0
"""The weight of an unknown word among a thousand chunks. A small collection lacks most words that its readers use, so
that one which it lacks tells less."""
MAX_PARTS = 6  # of an identifier
_WHO = re.compile(r"\bwho(?:m|se)?\b", re.IGNORECASE)
_INNER_CAPITAL = re.compile(r"[a-z][A-Z]|[A-Z]{2}")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a question.

    Attributes:
        stem: as passages have it; of a misspelt word, of the one that was meant.
        weight: inverse document frequency in the collection, less for a word that says only what is wanted.
        is_known: whether the collection has it.
        is_exact: an identifier or a number, which stands for itself in any language.
        doers: stems of the noun for who does it, where that is asked: an owner owns.

    """

    word: str
    stem: str
    weight: float
    is_known: bool
    is_exact: bool
    doers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as it is compared with units.

    Attributes:
        is_foreign: it is in another language than the collection: its words tell nothing, except exact ones.
        is_spoken: the collection has its language's function words, so that it has text in that language, too.

    """

    text: str
    kinds: frozenset[Kind]
    terms: tuple[Term, ...]
    is_foreign: bool
    is_spoken: bool = True


def kinds_of(text: str) -> frozenset[Kind]:
    """Return what kinds of answer a question may want; several, or none."""
    return frozenset(kind for kind, pattern in ASKED.items() if pattern.search(text))


def language_of(text: str) -> str | None:
    """Return the language of a question, by its function words; None if it has hardly any, as keywords have."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    counts = {language: sum(word in known for word in words) for language, known in FUNCTION_WORDS.items()}
    best = max(counts, key=counts.__getitem__)
    others = max(count for language, count in counts.items() if language != best)
    return best if counts[best] >= 2 and counts[best] > others else None  # noqa: PLR2004 (one may be a name)


def likely_language_of(text: str) -> str | None:
    """Return the language of a question, where a single function word has to tell; None where it does not."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    having = [language for language, known in FUNCTION_WORDS.items() if any(word in known for word in words)]
    return language_of(text) or (having[0] if len(having) == 1 else None)


def names_nothing(text: str) -> bool:
    """Tell whether a question has no word that says what it is about."""
    return all(map(is_vague, words_of(text)))


def looked_up(text: str, words: Words) -> list[str]:
    """Return the words of a question whose weights are asked for: its own, and plainer ones that passages may have."""
    own = words_of(text)
    return list(dict.fromkeys([*own, *map(words.plain, own)]))


def words_of(text: str) -> list[str]:
    """Return the words of a question: identifiers, their parts, and plain words, each once, in order."""
    found: dict[str, None] = {}
    for match in TOKEN.finditer(without_inversion(text)):
        token = match[0]
        if not token.isalnum():
            found[token] = None
            found.update(dict.fromkeys(_pieces(token)))
        elif len(token) > 1 or token.isdigit() or token.isupper():
            found[token] = None
    return list(found)


def _pieces(token: str) -> Iterator[str]:
    """Yield what an identifier is made of: ``post-commit`` of ``post-commit-Hook``, and single words."""
    parts = list(PART.finditer(token))[:MAX_PARTS]
    for length in range(len(parts) - 1, 0, -1):
        for first in range(len(parts) - length + 1):
            yield token[parts[first].start() : parts[first + length - 1].end()]


def understand(text: str, weights: Sequence[WordWeight], *, words: Words, language: str) -> Asked:
    """Return what a question asks, given the weights of its words in a collection of a language.

    A part of an identifier counts only where the collection does not know the whole.
    """
    asked_in = language_of(text)
    function_words = FUNCTION_WORDS[asked_in or "english"]
    in_order = words_of(text)
    own = set(in_order)
    by_word = {each.word: each for each in weights}
    known = {each.word for each in weights if each.is_known}
    said = {word for word in own if word.lower() in function_words}
    has_these = len(said & known) >= len(said) / 2
    # where the collection's language is not said, its lexicon has the function words
    is_foreign = asked_in not in (None, language) if language in FUNCTION_WORDS else not has_these
    wholes = [each.word for each in weights if each.is_known and not each.word.isalnum()]
    parts = {piece for whole in wholes for piece in _pieces(whole)}
    measures = MEASURE.findall(text)
    asks_who = _WHO.search(text) is not None
    terms: dict[str, Term] = {}
    for each in weights:
        lower = each.word.lower()
        if each.word not in own or lower in function_words or each.word in parts:
            continue
        exact = not each.word.isalpha() or (
            len(each.word) > 1 and (each.word.isupper() or _INNER_CAPITAL.search(each.word))
        )
        stem = each.lexeme if each.is_misspelt else lower if not each.word.isalnum() else words.stem(each.word)
        plain = by_word.get(words.plain(each.word), each)
        is_known = each.is_known or plain.is_known
        if not is_known and _is_function_word(lower, function_words, is_first=each.word == in_order[0]):
            continue
        is_asked_for = is_generic(each.word, stem) or each.word in measures
        weight = max(LEAST_WEIGHT, min(each.weight, plain.weight)) * (GENERIC_WEIGHT if is_asked_for else 1.0)
        if not is_known and not exact and each.word.islower():
            weight *= min(1.0, each.weight / LARGE)
        doers = words.doers(stem) if asks_who and not exact else frozenset[str]()
        terms[stem] = Term(each.word, stem, weight, is_known, bool(exact), doers)
    return Asked(text, kinds_of(text), tuple(terms.values()), is_foreign, asked_in in (None, language) or has_these)


def _is_function_word(word: str, known: frozenset[str], *, is_first: bool) -> bool:
    """Tell whether a word that the collection lacks is a misspelt function word."""
    return bool(
        get_close_matches(word, known, 1, FUNCTION_WORD_TYPO)
        or (is_first and get_close_matches(word, ASKING & known, 1, FIRST_WORD_TYPO))
    )
