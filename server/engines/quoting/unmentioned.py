"""What a question names and no passage mentions: identifiers, names, quoted phrases, one of two things."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING

from server.engines.quoting.languages import MEASURE, is_generic
from server.engines.quoting.words import PART

if TYPE_CHECKING:
    from server.engines.quoting.questions import Asked, Term
    from server.engines.quoting.units import Source
    from server.engines.quoting.words import Words

SHARE = 0.3  # of the question's weight that a word must have which the collection does not know
RARE = 0.9  # of the weight of the question's rarest word that the passages have
ALIKE = 0.75  # similarity, as difflib has it, of words that may be the same
SHORTEST_PART = 4  # letters that a word may share with a longer one: file, filesystem
MOST = 3
_PHRASE = re.compile('["“„«]([^"“”„«»\n]{3,100})["”“»]')  # as people quote, in several languages
_NAME = re.compile(r"(?<=[^\W_] )[A-Z]\w+")  # it does not begin the question
# from a word's beginning alone: else a long word is read to its end from each of its letters
_JOINED = re.compile(
    r"\b(\w+) (?:and|or|vs\.?|versus|und|oder|et|ou|y|o) (?:(?:the|an?|de[nmr]|die|das) )?(?=(\w+))", re.IGNORECASE
)


class Mentions:
    """Tells what of a question passages mention; typing errors, inflections and compounds count."""

    def __init__(self, sources: Sequence[Source], *, words: Words) -> None:
        self._texts = [f"{source.name} {source.heading} {source.text}" for source in sources]
        self._words = words
        self._known = frozenset[str]().union(*map(words.bag, self._texts))

    @cached_property
    def _long(self) -> list[str]:
        return [word for word in self._known if len(word) >= SHORTEST_PART]

    @cached_property
    def _squeezed(self) -> str:
        return _squeezed(" ".join(self._texts))

    @cached_property
    def _stems(self) -> list[str]:
        return [self._in_stems(text) for text in self._texts]

    def unmentioned(self, asked: Asked) -> list[str]:
        """Return what the question names and no passage mentions, as it was written; nothing of a foreign language."""
        if asked.is_foreign or not self._known:
            return []
        missing = list(self._phrases(asked.text))
        for term in self._telling(asked):
            if not self._has(term) and not any(term.word in whole for whole in missing):
                missing.append(term.word)
        return missing[:MOST]

    def has_any(self, asked: Asked) -> bool:
        """Tell whether a passage mentions anything that the question is about."""
        return any(self._has(term) for term in asked.terms if not is_generic(term.word, term.stem))

    def mentioned_half(self, asked: Asked) -> Asked:
        """Return a question for two things, ``of X and Y``, without the one that no passage mentions."""
        terms = {term.word: term for term in asked.terms if not is_generic(term.word, term.stem)}
        dropped: list[str] = []
        for pair in _JOINED.findall(asked.text):
            lacking = [terms[word] for word in pair if word in terms and not self._has(terms[word])]
            if len(lacking) == 1 and all(word in terms for word in pair):
                dropped += [term.word for term in lacking]
        return replace(asked, terms=tuple(term for term in asked.terms if term.word not in dropped))

    def _phrases(self, question: str) -> Iterator[str]:
        """Yield the quoted phrases of several words that no passage has."""
        for phrase in _PHRASE.findall(question):
            sought = self._in_stems(phrase)
            if " " in sought.strip() and not any(sought in stems for stems in self._stems):
                yield phrase

    def _in_stems(self, text: str) -> str:
        return f" {' '.join(self._words.stem(word) for word in PART.findall(text))} "

    def _telling(self, asked: Asked) -> Iterator[Term]:
        """Yield the words that stand for a thing which the question asks for; verbs have too many synonyms to tell."""
        total = sum(term.weight for term in asked.terms)
        rarest = max((term.weight for term in asked.terms if term.stem in self._known), default=0.0)
        joined = (word for pair in _JOINED.findall(asked.text) for word in pair)
        measures = MEASURE.findall(asked.text)
        things = {*_NAME.findall(asked.text), *joined}
        for term in asked.terms:
            if is_generic(term.word, term.stem) or term.word in measures:
                continue
            is_thing = term.word in things and term.weight >= RARE * rarest
            if term.is_exact or is_thing or (not term.is_known and term.weight >= SHARE * total):
                yield term

    def _has(self, term: Term) -> bool:
        if term.stem in self._known:
            return True
        if term.is_exact:
            return not term.word.isdigit() and _squeezed(term.word) in self._squeezed
        return any(term.stem in word or word in term.stem for word in self._long) or bool(
            get_close_matches(term.stem, self._long, 1, ALIKE)
        )


def _squeezed(text: str) -> str:
    return "".join(PART.findall(text)).casefold()
