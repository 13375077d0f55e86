"""Words as questions and passages are compared by: stems, and identifiers whole and in parts."""

from __future__ import annotations

import re
from functools import cache, lru_cache

import Stemmer

TOKEN = re.compile(r"[^\W_]+(?:[_.:/@#+\-]{1,2}[^\W_]+)*")
PART = re.compile(r"[^\W_]+")
_PLAIN = {
    short: word
    for word, shorts in {
        "administrator": "admin",
        "application": "app apps",
        "argument": "arg args",
        "authentication": "auth",
        "begin": "start starts started starting",
        "configuration": "conf config configs",
        "database": "db dbs",
        "delete": "erase remove",
        "directory": "dir dirs folder folders",
        "disable": "deactivate",
        "enable": "activate",
        "environment": "env",
        "maximum": "max biggest greatest highest largest limit limits",
        "message": "msg msgs",
        "minimum": "min least lowest smallest",
        "number": "num",
        "package": "pkg pkgs",
        "parameter": "param params",
        "password": "passwd",
        "permission": "perm perms",
        "repository": "repo repos",
        "telephone": "phone phones telephones",
        "variable": "var vars",
    }.items()
    for short in shorts.split()
}
"""What people write short, or with another word than manuals do; in English only, the rest has stems alone."""
_LONGEST = 60  # characters; what is longer is no word, and stemming it would take its time


class Words:
    """Makes stems in a collection's language, by the algorithms that PostgreSQL's text search uses (Snowball).

    `language` is a name of ``pg_ts_config``; for one that Snowball does not know, ``simple`` among them, words are
    compared whole.
    """

    def __init__(self, language: str) -> None:
        self._stemmer = _stemmer(language)
        self._is_english = language == "english"

    def plain(self, word: str) -> str:
        """Return the word that manuals have for one that people write; the word itself in other languages."""
        return _PLAIN.get(word.lower(), word) if self._is_english else word

    def stem(self, word: str) -> str:
        """Return a word's stem, of the plainer word where there is one."""
        word = self.plain(word).lower()
        return self._stemmer.stemWord(word) if self._stemmer and word.isalpha() and len(word) <= _LONGEST else word

    def doers(self, stem: str) -> frozenset[str]:
        """Return stems that the noun for who does it may have, of a verb's: ``owner`` of ``own``; English only."""
        if not self._is_english or not stem.isalpha():
            return frozenset()
        return frozenset((f"{stem}er", f"{stem}or", f"{stem}r" if stem.endswith("e") else f"{stem}{stem[-1]}er"))

    def bag(self, text: str) -> frozenset[str]:
        """Return the stems of a text: of whole identifiers, ``random_page_cost``, and of their parts."""
        return _bag(self, text)

    def __hash__(self) -> int:
        return hash(self._stemmer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Words) and other._stemmer is self._stemmer


@lru_cache(maxsize=4096)
def _bag(words: Words, text: str) -> frozenset[str]:
    found = set()
    for match in TOKEN.finditer(text):
        token = match[0]
        if token.isalnum():
            found.add(words.stem(token))
        else:
            found.add(token.lower())
            found.update(words.stem(part) for part in PART.findall(token))
    return frozenset(found)


@cache
def _stemmer(language: str) -> Stemmer.Stemmer | None:
    return Stemmer.Stemmer(language) if language in Stemmer.algorithms() else None
