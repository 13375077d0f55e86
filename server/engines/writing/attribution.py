"""Finds the passage behind an answer that a model wrote without a citation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from server.engines.quoting.languages import FUNCTION_WORDS
from server.engines.quoting.words import Words

SHARE = 0.5  # of the answer's words that the passage must have; and every number
CLEARLY = 0.3  # by so much more another passage must have for a footnote to move
_NUMBER = re.compile(r"\d[\d.,]*\d|\d")
_ALL_FUNCTION_WORDS = frozenset().union(*FUNCTION_WORDS.values())

ATTRIBUTED = "The model cited nothing: the footnote names the passage that has most of its words."
QUOTED = "The model cited nothing, and no passage has what it wrote: what the passages say is quoted behind it."
UNATTRIBUTED = "The model cited nothing, and no passage has what it wrote."


class Attribution:
    """Tells which of an answer's passages have what is written; each is taken apart once, where it is first needed.

    Words of the question count only where a text has no others: a passage about the question need not hold the answer.
    `language` is the collection's, as `Words` knows it.
    """

    def __init__(self, passages: Sequence[str], *, language: str, question: str = "") -> None:
        self._passages = passages
        self._words = Words(language)
        self._question = question

    def behind(self, answer: str) -> int | None:
        """Return the number, from 1, of the passage that supports an answer; None if none does."""
        shares = self._support(answer)
        best = max(range(len(shares)), key=shares.__getitem__, default=None)
        return best + 1 if best is not None and shares[best] >= SHARE else None

    def checked(self, sentence: str, numbers: Sequence[int]) -> Sequence[int]:
        """Return the numbers of the passages that support a sentence, which a model took from those of `numbers`.

        They are those of the model's that do, if any does; else the one that does clearly better; else the model's.
        """
        shares = self._support(sentence)
        own = {number: shares[number - 1] for number in numbers if 1 <= number <= len(shares)}
        most = max(shares, default=0.0)
        if most >= SHARE and most - max(own.values(), default=0.0) >= CLEARLY:
            return [shares.index(most) + 1]
        return [number for number, share in own.items() if share >= SHARE] or numbers

    @cached_property
    def _bags(self) -> list[tuple[frozenset[str], frozenset[str]]]:
        """The words of each passage, and its numbers."""
        return [(self._words.bag(passage), frozenset(_NUMBER.findall(passage))) for passage in self._passages]

    def _support(self, text: str) -> list[float]:
        """Return the share of a text's telling words that each passage has; 0 where it lacks one of its numbers."""
        told = _telling(self._words.bag(text))
        telling = told - self._words.bag(self._question) or told
        numbers = set(_NUMBER.findall(text))
        if not telling:
            return []
        return [len(telling & words) / len(telling) if numbers <= known else 0.0 for words, known in self._bags]


def _telling(bag: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in bag if word not in _ALL_FUNCTION_WORDS and (len(word) > 1 or word.isdigit()))
