"""Passages that repeat a higher-ranked one: reprints, mirrored pages, boilerplate.

The measure is containment of word shingles (A. Broder, "On the resemblance and containment of documents", 1997): the
fraction of a passage's word trigrams that another one has. Two texts that agree in nearly all of them can still differ
in the one word that matters, so differences in numbers, signs, names, identifiers and negations have a veto. Two rows
of a table that differ in a number, or two versions of a rule of which one says "not", are both kept.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cached_property

SHINGLE = 3
MUCH_LONGER = 1.1  # times the length: a longer passage may negate something that the shorter one does not mention
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
_RUN = re.compile(r"\w+")
_HAS_CJK = re.compile(f"[{_CJK}]")
_BLANKED = {code: " " for code in range(128) if not (chr(code).isalnum() or chr(code) == "_")}
SKETCH_BITS = 1021
RUNS_A_TOKEN = 2
"""Runs of letters in a token that is no number, at most: ``don't`` has two."""


class Wording:
    """The words of a passage, for comparison; what is rarely needed is computed on demand."""

    def __init__(self, text: str) -> None:
        self._text = text if text.isascii() else unicodedata.normalize("NFKC", text)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Its words, numbers and signs, case-folded, in order."""
        return tuple(_TOKEN.findall(self._text.casefold()))

    @cached_property
    def words(self) -> frozenset[str]:
        """The same as a set."""
        return frozenset(self.tokens)

    @cached_property
    def _sketch(self) -> tuple[int, int] | None:
        """A bit for each of its runs of letters and digits, and how many runs it has; None where characters are words.

        Another run may have the same bit, so bits count no more runs than there are.
        """
        if self._text.isascii():
            runs = self._text.lower().translate(_BLANKED).split()
        elif _HAS_CJK.search(self._text):
            return None
        else:
            runs = _RUN.findall(self._text.casefold())
        bits = 0
        for run in set(runs):
            bits |= 1 << (hash(run) % SKETCH_BITS)
        return bits, len(runs)

    @cached_property
    def shingles(self) -> frozenset[tuple[str, ...]]:
        """Its word trigrams, case-folded."""
        size = min(SHINGLE, len(self.tokens))
        return frozenset(zip(*(self.tokens[shift:] for shift in range(size)), strict=False))

    @cached_property
    def telling(self) -> tuple[str, ...]:
        """Its distinctive tokens, in order: numbers, signs, and words with a digit, a capital letter or `_`."""
        return tuple(word.casefold() for word in _TOKEN.findall(self._text) if _is_telling(word))

    @cached_property
    def tellers(self) -> frozenset[str]:
        """The same as a set."""
        return frozenset(self.telling)

    @cached_property
    def characters(self) -> frozenset[str]:
        """Characters of scripts without spaces, and words of scripts without capital letters."""
        return frozenset(filter(_is_caseless, self.words))

    @cached_property
    def negations(self) -> int:
        """How many negations it has."""
        return sum(token in NEGATIONS or token.endswith(("n't", "n\u2019t")) for token in self.tokens)

    def is_repeated_by(self, other: Wording, *, share: float) -> bool:
        """Whether the other one has this fraction of its trigrams, and all of its distinctive tokens."""
        if self._is_surely_other(other, share=share):
            return False
        if not self.tellers <= other.words:  # a cheap test first: texts from one template mostly differ in these
            return False
        if (
            len(self.words - other.words) > (1 - share) * len(self.tokens) + SHINGLE
        ):  # then at least as many shingles are new
            return False
        shared = len(self.shingles & other.shingles)
        return shared > 0 and shared >= share * len(self.shingles) and self._adds_nothing_telling_to(other)

    def _is_surely_other(self, other: Wording, *, share: float) -> bool:
        """Whether so many of its runs of letters are new that its trigrams must be; it takes no tokens to tell.

        A run that the other one lacks makes a token that it lacks; of a number, that alone makes it no repetition.
        """
        if self._sketch is None or other._sketch is None:
            return False
        bits, runs = self._sketch
        return (bits & ~other._sketch[0]).bit_count() > RUNS_A_TOKEN * ((1 - share) * runs + SHINGLE)

    def _adds_nothing_telling_to(self, other: Wording) -> bool:
        """Whether the other has all its distinctive tokens, in order, and as many negations."""
        if not self.characters <= other.characters or self.negations > other.negations:
            return False
        if self.negations != other.negations and len(other.tokens) < len(self.tokens) * MUCH_LONGER:
            return False
        following = iter(other.tokens)
        return all(token in following for token in self.telling)


def _is_caseless(word: str) -> bool:
    return word.isalpha() and word.lower() == word.upper()


def _is_telling(word: str) -> bool:
    """Whether a word is distinctive; `四` is a number."""
    if word.isnumeric():
        return True
    letters = word.replace("'", "").replace("\u2019", "")
    return not _is_caseless(word) and not (letters.isalpha() and letters.islower())
