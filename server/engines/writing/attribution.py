"""Finds the passage behind an answer that a model wrote without a citation."""

from __future__ import annotations

import re
from collections.abc import Sequence

from server.engines.quoting.languages import FUNCTION_WORDS
from server.engines.quoting.words import Words

SHARE = 0.5  # of the answer's words that the passage must have; and every number
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
    words = Words(language)
    told = _telling(words.bag(answer))
    telling = told - words.bag(question) or told
    numbers = set(_NUMBER.findall(answer))
    if not telling:
        return None
    shares = [
        len(telling & words.bag(passage)) / len(telling) if numbers <= set(_NUMBER.findall(passage)) else 0.0
        for passage in passages
    ]
    best = max(range(len(shares)), key=shares.__getitem__, default=None)
    return best + 1 if best is not None and shares[best] >= SHARE else None


def _telling(bag: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in bag if word not in _ALL_FUNCTION_WORDS and (len(word) > 1 or word.isdigit()))
