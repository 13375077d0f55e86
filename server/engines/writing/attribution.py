"""Finds the passage behind an answer that a model wrote without a citation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from server.engines.quoting.languages import FUNCTION_WORDS
from server.engines.quoting.words import Words

SHARE = 0.5  # of the answer's words that the passage must have; and every number
CLEARLY = 0.3  # by so much more another passage must have for a footnote to move
_NUMBER = re.compile(r"\d[\d.,]*\d|\d")
_ALL_FUNCTION_WORDS = frozenset().union(*FUNCTION_WORDS.values())

ATTRIBUTED = "The model cited nothing: the footnote names the passage that has most of its words."
QUOTED = "The model cited nothing, and no passage has what it wrote: what the passages say is quoted behind it."
UNATTRIBUTED = "The model cited nothing, and no passage has what it wrote."


def passage_behind(answer: str, passages: Sequence[str], *, language: str, question: str = "") -> int | None:
    """Return the number, from 1, of the passage that supports an answer; None if none does.

    Words of the question count only where the answer has no others: a passage about the question need not hold the
    answer. `language` is the collection's, as `Words` knows it.
    """
    shares = _support(answer, passages, language=language, question=question)
    best = max(range(len(shares)), key=shares.__getitem__, default=None)
    return best + 1 if best is not None and shares[best] >= SHARE else None


def numbers_behind(
    sentence: str, numbers: Sequence[int], passages: Sequence[str], *, language: str, question: str = ""
) -> list[int]:
    """Return the numbers of the passages that support a sentence, which a model took from those of `numbers`.

    They are those of the model's that do; else the one that does best; else the model's, as no passage tells.
    """
    shares = _support(sentence, passages, language=language, question=question)
    kept = [number for number in numbers if 1 <= number <= len(shares) and shares[number - 1] >= SHARE]
    most = max(shares, default=0.0)
    if most >= SHARE and (not kept or max(shares[number - 1] for number in kept) < most - CLEARLY):
        return [shares.index(most) + 1]
    return kept or [*numbers]


def _support(text: str, passages: Sequence[str], *, language: str, question: str) -> list[float]:
    """Return the share of a text's telling words that each passage has; 0 where it lacks one of its numbers."""
    words = Words(language)
    told = _telling(words.bag(text))
    telling = told - words.bag(question) or told
    numbers = set(_NUMBER.findall(text))
    if not telling:
        return []
    return [
        len(telling & words.bag(passage)) / len(telling) if numbers <= set(_NUMBER.findall(passage)) else 0.0
        for passage in passages
    ]


def _telling(bag: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in bag if word not in _ALL_FUNCTION_WORDS and (len(word) > 1 or word.isdigit()))
