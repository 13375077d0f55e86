"""What to search for in a conversation where no model can rewrite a message: it alone, or with what it leaves out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from server.engines.quoting.languages import FUNCTION_WORDS, is_generic

MAX_LENGTH = 2000  # characters
TURNS = 6
"""Questions before a message that may tell what it is about."""
FEW_WORDS = 4
LONGEST_SENTENCE = 200
"""Characters of a question in which a part can be told from the others."""
_JOINING = re.compile(
    r"^(?:and|or|but|so|also|then|what about|how about|und|oder|aber|auch|was ist mit|wie ist es mit"
    r"|et|ou|mais|y|o|pero)\b"
    r"[\s,]*(?:what about\b|how about\b)?\s*",
    re.IGNORECASE,
)
_LEANING = re.compile(
    r"^why\b|^warum\b"
    r"|\b(it|its|they|them|their|this|that|these|those|there|he|she|him|her|his|one|ones|same|former|latter)\b",
    re.IGNORECASE,
)
_STANDS_FOR = re.compile(r"\b(?:it|they|them|he|she|him|its|their|his)\b", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\s+ones?\b(?=\W*$)", re.IGNORECASE)
_KNOWN = frozenset().union(*FUNCTION_WORDS.values())
_WORD = re.compile(r"\w+(?:['.-]\w+)*")
_ASKS = re.compile(
    r"^(who|whose|what|when|where|which|how|is|are|was|were|does|do|did|can|could|may|must|should|will|has|have"
    r"|wer|wem|wen|wessen|was|wann|wo|welche[rsmn]?|wie|ist|sind|kann|darf|muss|gibt"
    r"|qui|quand|où|quel(le)?s?|quién|cuándo)\b",
    re.IGNORECASE,
)


def _listed(*words: str) -> frozenset[str]:
    return frozenset(" ".join(words).split())


_ARTICLES = _listed(
    "the a an my our your this that der die das den dem des ein eine einen einem einer mein unser",
    "le la les un une el los las una",
)
_PREPOSITIONS = _listed(
    "for of on in with at by to from about during before after without under over between per as",
    "für von vom in im am an auf mit bei beim zu zum zur aus nach vor über ohne",
    "pour de du dans avec sur sans par para del en con sin por",
)
_SUBJECTS = _listed("i you we they it one he she ich du wir ihr sie man es je tu nous vous")
_DO = _listed("do does did can could will would should may must")
_CHOOSING = _listed("which what whose how welche welcher welches quel quelle qué")
_BE = _listed("is are was were")
_ASKS_FOR = _listed("who what wer was qui")


class _Words(NamedTuple):
    """A question's words with their places."""

    text: str
    words: Sequence[re.Match[str]]

    def lower(self, place: int) -> str:
        return self.words[place][0].lower()

    def replaced(self, first: int, last: int, by: str) -> str:
        """Return the question with other words in the place of some: of `first`, and all before `last`."""
        return self.text[: self.words[first].start()] + by + self.text[self.words[last - 1].end() :]


def searched_for(message: str, earlier: Sequence[str]) -> tuple[str, ...]:
    """Return what to search for, in this order, until passages answer; `earlier` are the questions before, in order.

    A message that joins in (“and on Windows?”) is read in the place of the words that it replaces in the question
    before, or else alone; one with a pronoun, of what that question was about. What cannot be told so is read after
    that question. A message that asks by itself (“which file types?”) is read alone first, any longer one only so.
    """
    before = None
    for question in earlier[-TURNS:]:
        before = _read(question, before)[0]
    return _read(message, before)


def _read(message: str, before: str | None) -> tuple[str, ...]:
    if not before:
        return (message,)
    rest = _PLACEHOLDER.sub("", _JOINING.sub("", message)).strip() or message
    both = f"{before} {rest}"[-MAX_LENGTH:]
    is_long = len(_WORD.findall(message)) > FEW_WORDS
    if not _says_something(rest):
        readings: tuple[str | None, ...] = (_of_what_it_was_about(rest, before), both)
    elif _LEANING.search(rest):
        readings = (_of_what_it_was_about(rest, before), both, rest)
    elif rest == message and is_long:
        readings = (message,)
    elif _ASKS.match(rest):
        readings = (rest, both)
    elif rest == message:
        readings = (_in_place(rest, before), both, message)
    else:
        readings = (_in_place(rest, before), rest, both)
    return tuple(dict.fromkeys(each for each in readings if each))


def _in_place(rest: str, before: str) -> str | None:
    """Return the question before with a part of it replaced: ``for members`` in the place of ``for guests``."""
    if (asked := _words_of(before)) is None:
        return None
    part = rest.rstrip(" ?!.")
    head = (_WORD.search(part) or [""])[0].lower()
    if head in _PREPOSITIONS:
        alike = [place for place in range(1, len(asked.words)) if asked.lower(place) == head]
        if not alike:
            return f"{before.rstrip(' ?!.')} {part}?"
    elif head in _ARTICLES:
        alike = [place for place in range(1, len(asked.words)) if asked.lower(place) in _ARTICLES]
    else:
        alike = []
    span = (alike[-1], _end_of(asked, alike[-1])) if alike else _topic(asked)
    if span is None:
        return None
    if head in _ARTICLES and span[0] > 0 and asked.lower(span[0] - 1) in _CHOOSING:
        part = part.partition(" ")[2]
    return asked.replaced(*span, part)


def _of_what_it_was_about(rest: str, before: str) -> str | None:
    """Return a message with what the question before was about in the place of its pronoun."""
    if (asked := _words_of(before)) is None or not _STANDS_FOR.search(rest) or (span := _topic(asked)) is None:
        return None
    topic = before[asked.words[span[0]].start() : asked.words[span[1] - 1].end()]
    return _STANDS_FOR.sub(lambda _: topic, rest, count=1)


def _words_of(question: str) -> _Words | None:
    """Return the words of a question of one sentence; None of any other."""
    if len(question) > LONGEST_SENTENCE or re.search(r"[.?!]\s+\S", question):
        return None
    return _Words(question, list(_WORD.finditer(question)))


def _topic(asked: _Words) -> tuple[int, int] | None:
    """Return the last words that name something, as (first, behind the last)."""
    first = last = len(asked.words)
    while first > 0 and asked.lower(first - 1) not in _KNOWN | _ARTICLES | _PREPOSITIONS | _SUBJECTS | _DO:
        first -= 1
    last -= _verbs_at_the_end(asked, first)
    if first < last - 1 and first > 0 and asked.lower(first - 1) in _ASKS_FOR:
        first += 1  # a verb
    return (first, last) if first < last else None


def _end_of(asked: _Words, first: int) -> int:
    """Return where a part ends that begins with an article or a preposition."""
    last = first + 1
    if last < len(asked.words) and asked.lower(last) in _ARTICLES:
        last += 1
    begun = last
    while last < len(asked.words) and (last == begun or asked.lower(last) not in _KNOWN | _ARTICLES | _PREPOSITIONS):
        last += 1
    return last - _verbs_at_the_end(asked, begun) if last == len(asked.words) else last


def _verbs_at_the_end(asked: _Words, first: int) -> int:
    """Return how many words at the end, from `first` on, are the verb of ``does … cost`` or ``is … insured``."""
    if len(asked.words) - first < 2:  # noqa: PLR2004 (a name, and a verb)
        return 0
    if asked.lower(0) in _BE:
        return 1
    does = [place for place in range(first) if asked.lower(place) in _DO]
    return int(bool(does) and does[0] + 1 < len(asked.words) and asked.lower(does[0] + 1) not in _SUBJECTS)


def _says_something(text: str) -> bool:
    """Tell whether a word of a text is about something: “where?” and “how much?” are not."""
    words = (word.lower() for word in _WORD.findall(text))
    return any(word not in _KNOWN and not is_generic(word, word) for word in words)
