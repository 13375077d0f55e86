"""Finds the passage behind an answer that a model wrote without a citation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property

from server.engines.quoting.languages import telling
from server.engines.quoting.words import Words

SHARE = 0.5  # of the answer's words that the passage must have; and every number
CLEARLY = 0.3  # by so much more another passage must have for a footnote to move
LEAST_WORDS = 3  # that a sentence must have for it
_NUMBER = re.compile(r"\d[\d.,]*\d|\d")
_GROUPED = re.compile(r"[.,](?=\d{3}(?:\D|\Z))")
_LIST_NUMBER = re.compile(r"^\s*(?:[-*]\s+)?(?:(?:step|schritt|paso|étape)\s+)?\d{1,3}[.):]\s+", re.IGNORECASE)

ATTRIBUTED = "The model cited nothing: the footnote names the passage that has most of its words."
QUOTED = "The model cited nothing, and no passage has what it wrote: what the passages say is quoted behind it."
UNATTRIBUTED = "The model cited nothing, and no passage has what it wrote."


class Attribution:
    """Tells which of an answer's passages have what is written; each is taken apart once, where it is first needed.

    Words of the question count only where a text has no others: a passage about the question need not hold the answer.
    `language` is the collection's, as `Words` knows it.
    """

    def __init__(self, passages: Iterable[str], *, language: str, question: str = "") -> None:
        self._passages = passages
        self._words = Words(language)
        self._question = question

    def behind(self, answer: str) -> int | None:
        """Return the number, from 1, of the passage that supports an answer; None if none does."""
        told = telling(self._words.bag(answer))
        shares = self._support(told - self._words.bag(self._question) or told, _numbers(answer))
        best = max(range(len(shares)), key=lambda place: _both(shares[place]), default=None)
        return best + 1 if best is not None and _both(shares[best]) >= SHARE else None

    def checked(self, sentence: str, numbers: Sequence[int]) -> Sequence[int]:
        """Return the numbers of the passages that support a sentence, which a model took from those of `numbers`.

        These stay, but for those of several that do not support it, unless another passage has half of the sentence's
        words, all its numbers, and clearly more words; or no fewer words, where those of the model lack a number.
        """
        told = telling(self._words.bag(sentence))
        if len(told) < LEAST_WORDS:
            return numbers
        shares = self._support(told, _numbers(_LIST_NUMBER.sub("", sentence)))
        own = {number: shares[number - 1] for number in numbers if 1 <= number <= len(shares)}
        words, has_numbers = max(own.values(), default=(0.0, False))
        has_numbers = has_numbers or any(has for _, has in own.values())
        best = max(range(len(shares)), key=lambda place: _both(shares[place]), default=None)
        if best is not None and (most := _both(shares[best])) >= SHARE and best + 1 not in own:
            moves = most - words >= CLEARLY or (not has_numbers and most >= words)
            if moves:
                return [best + 1]
        return [number for number, share in own.items() if _both(share) >= SHARE] or numbers

    @cached_property
    def _read(self) -> list[tuple[frozenset[str], frozenset[str]]]:
        """The words of each passage, and its numbers."""
        return [(self._words.bag(passage), _numbers(passage)) for passage in self._passages]

    def _support(self, telling: frozenset[str], numbers: frozenset[str]) -> list[tuple[float, bool]]:
        """Return which share of the words each passage has, and whether it has all the numbers."""
        return (
            [(len(telling & words) / len(telling), numbers <= known) for words, known in self._read] if telling else []
        )


def _both(share: tuple[float, bool]) -> float:
    words, has_numbers = share
    return words if has_numbers else 0.0


def _numbers(text: str) -> frozenset[str]:
    """Return a text's numbers, however their digits are grouped."""
    return frozenset(_GROUPED.sub("", number) for number in _NUMBER.findall(text))
