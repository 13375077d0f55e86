"""Words divided at the end of a line: whether the hyphen belongs to them, judged by the document and a word list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

HYPHENS = "-\u2010\xad"
_WORDS = re.compile(r"[^\W\d_]+(?:[-\u2010][^\W\d_]+)*")
_FIRST = re.compile(r"[^\W\d_]+")
_LAST = re.compile(r"(\S*?)([^\W\d_]*)[-\u2010\xad]$")
_LANGUAGES = {
    "english": "en", "german": "de", "french": "fr", "spanish": "es", "italian": "it", "portuguese": "pt",
    "dutch": "nl", "russian": "ru", "arabic": "ar", "basque": "eu", "simple": "en",
}  # fmt: skip
_COMPOUNDING = {"de", "nl"}  # their compounds have no hyphen
_COMMON = 40  # occurrences in the word list's subtitles from which a word is one
_SHORT = 2  # letters: shorter parts before a hyphen are `e-mail`, `x-ray`
_CONJUNCTIONS = {"und", "oder", "bzw", "sowie", "and", "or", "to", "et", "ou"}
_TELLING = re.compile(r"re(?=-creat)", re.IGNORECASE)  # re-create is not recreate


class Vocabulary:
    """The words of a document, and those of its language."""

    def __init__(self, texts: Iterable[str], *, language: str = "simple") -> None:
        self._words = {word.lower().replace("\u2010", "-") for text in texts for word in _WORDS.findall(text)}
        self._language = _LANGUAGES.get(language, "")

    def belongs(self, before: str, after: str) -> bool:
        """Tell whether the hyphen at the end of `before` stays when `after`, the next line, follows it at once.

        Before a capital or a digit, after a digit, in an option (``--no-cache``) and in a compound that has a hyphen
        already it does. Else what the document writes elsewhere decides, then the list of the language's words.
        """
        last, first = _LAST.search(before), _FIRST.match(after)
        if last is None or first is None:
            return True
        rest, start, end = last.group(1), last.group(2), first.group()
        if end[0].isupper() and not (start.isupper() and end.isupper() and len(start) > 1):
            return True
        if not start or rest.rstrip("([{\"'“„‘«"):
            return True
        return self._decide(start.lower(), end.lower())

    def suspends(self, before: str, after: str) -> bool:
        """Tell whether the hyphen at the end of `before` stands for the rest of a later compound: ``Ein- und Ausfuhr``.

        A blank follows such a hyphen. ``pota-to`` is divided all the same.
        """
        last, first = _LAST.search(before), _FIRST.match(after)
        if last is None or first is None or first.group() not in _CONJUNCTIONS:
            return False
        if not after[first.end() :].startswith((" ", ".")) or len(last.group(2)) < _SHORT:
            return False
        joined = (last.group(2) + first.group()).lower()
        return joined not in self._words and joined not in words_of_language(self._language)

    def _decide(self, start: str, end: str) -> bool:
        joined, hyphenated = start + end, f"{start}-{end}"
        if hyphenated in self._words or joined in self._words:
            return joined not in self._words
        if len(start) < _SHORT or _TELLING.match(hyphenated):
            return True
        known = words_of_language(self._language)
        if known.get(joined, 0):
            return False
        if self._language in _COMPOUNDING:
            return False
        return known.get(start, 0) >= _COMMON and known.get(end, 0) >= _COMMON


@lru_cache(maxsize=2)
def words_of_language(language: str) -> dict[str, int]:
    """Return the words of a language with how often subtitles have them; empty where there is no list."""
    if not language:
        return {}
    from spellchecker import SpellChecker

    return dict(SpellChecker(language=language).word_frequency.dictionary)


def ends_divided(text: str) -> bool:
    """Tell whether a line ends with a hyphen that may divide a word."""
    return len(text) > 1 and text[-1] in HYPHENS and not text[-2].isspace()
