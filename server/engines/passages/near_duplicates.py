"""Passages that say again what a better one says: reprints, mirrored pages, boilerplate.

The measure is containment of word shingles (A. Broder, "On the resemblance and containment of documents", 1997): which
share of a passage's runs of three words stands in another one. Two texts that agree in nearly all of them can still
differ in the one word that matters, so what tells things apart has a veto: numbers, signs, names, identifiers,
negations. Two rows of a table that differ in a number, or two versions of a rule of which one says "not", both stay.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property

SHINGLE = 3
MUCH_LONGER = 1.1  # times the length: a passage that says more, and may negate that
_CJK = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
# a sign with its number, a character of a script without blanks, a word, or a sign that changes a meaning
_TOKEN = re.compile(
    rf"(?<!\w)[-+\u2212]?\d+(?:[.,:/-]\d+)*(?!\w)|[{_CJK}]|[^\W{_CJK}]+(?:['\u2019][^\W{_CJK}]+)*|[<>=!\u2260\u2264\u2265]+|[%\u2030$€£¥]"
)
_NEGATIONS = """
    no not never nor none neither cannot without nicht kein keine keinen keinem keiner keines nie
    niemals ohne ne pas jamais sans aucun aucune nunca sin ni jamás não nem sem non mai senza niet
    geen nooit zonder
"""
NEGATIONS = frozenset(_NEGATIONS.split())


class Wording:
    """What a passage says, to be compared; what few comparisons need is worked out when one does."""

    def __init__(self, text: str) -> None:
        self._text = text if text.isascii() else unicodedata.normalize("NFKC", text)
        self.tokens = tuple(_TOKEN.findall(self._text.casefold()))
        self.words = frozenset(self.tokens)

    @cached_property
    def shingles(self) -> frozenset[tuple[str, ...]]:
        """Its runs of three words, upper and lower case alike."""
        size = min(SHINGLE, len(self.tokens))
        return frozenset(zip(*(self.tokens[shift:] for shift in range(size)), strict=False))

    @cached_property
    def telling(self) -> tuple[str, ...]:
        """In order: numbers, signs, and words that have a digit, a capital or `_`."""
        return tuple(word.casefold() for word in _TOKEN.findall(self._text) if _is_telling(word))

    @cached_property
    def tellers(self) -> frozenset[str]:
        """The same, without their order."""
        return frozenset(self.telling)

    @cached_property
    def characters(self) -> frozenset[str]:
        """Those of scripts without blanks, and words of scripts without capitals."""
        return frozenset(filter(_is_caseless, self.words))

    @cached_property
    def negations(self) -> int:
        """How many there are."""
        return sum(token in NEGATIONS or token.endswith(("n't", "n\u2019t")) for token in self.tokens)

    def is_repeated_by(self, other: Wording, *, share: float) -> bool:
        """Whether the other one says this share of it, and all in it that tells things apart."""
        if not self.tellers <= other.words:  # most texts of one template differ in these, and it is told at once
            return False
        if len(self.words - other.words) > (1 - share) * len(self.tokens) + SHINGLE:  # so many shingles are new, too
            return False
        shared = len(self.shingles & other.shingles)
        return shared > 0 and shared >= share * len(self.shingles) and self._adds_nothing_telling_to(other)

    def _adds_nothing_telling_to(self, other: Wording) -> bool:
        """Whether the other has all its numbers, names and identifiers, in order, and negates as often."""
        if not self.characters <= other.characters or self.negations > other.negations:
            return False
        if self.negations != other.negations and len(other.tokens) < len(self.tokens) * MUCH_LONGER:
            return False
        following = iter(other.tokens)
        return all(token in following for token in self.telling)


def _is_caseless(word: str) -> bool:
    return word.isalpha() and word.lower() == word.upper()


def _is_telling(word: str) -> bool:
    """Whether a word is other than plain words are; `四` is a number."""
    if word.isnumeric():
        return True
    letters = word.replace("'", "").replace("\u2019", "")
    return not _is_caseless(word) and not (letters.isalpha() and letters.islower())
