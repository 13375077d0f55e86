"""What to search for within a conversation where no model can rewrite a message: it alone, or two questions as one."""

from __future__ import annotations

import re

from server.engines.quoting.languages import FUNCTION_WORDS, is_generic

MAX_LENGTH = 2000  # characters
FEW_WORDS = 4
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
_PLACEHOLDER = re.compile(r"\s+ones?\b(?=\W*$)", re.IGNORECASE)
_KNOWN = frozenset().union(*FUNCTION_WORDS.values())
_WORD = re.compile(r"\w+")
_ASKS = re.compile(
    r"^(who|whose|what|when|where|which|how|wer|wessen|was|wann|wo|welche[rsmn]?|wie|qui|quand|où|quel(le)?s?|quién|cuándo)\b",
    re.IGNORECASE,
)


def searched_for(message: str, earlier: str | None) -> tuple[str, ...]:
    """Return what to search for, in this order, until passages answer; `earlier` is the question before.

    A message with a pronoun, or of hardly a word, is read after the question before it first; on its own it may be a
    new question all the same. One that joins in (“and on Windows?”), or asks by itself (“which file types?”), is read
    alone first: the words of the question before would find that one's passages again. Any other stands alone.
    """
    if not earlier:
        return (message,)
    rest = _PLACEHOLDER.sub("", _JOINING.sub("", message)).strip() or message
    both = f"{earlier} {rest}"[-MAX_LENGTH:]
    if not _says_something(rest):
        return (both,)
    if _LEANING.search(rest):
        return both, rest
    if rest != message:
        return rest, both
    if len(_WORD.findall(message)) > FEW_WORDS:
        return (message,)
    return (message, both) if _ASKS.match(message) else (both, message)


def _says_something(text: str) -> bool:
    """Tell whether a word of a text is about something: “where?” and “how much?” are not."""
    words = (word.lower() for word in _WORD.findall(text))
    return any(word not in _KNOWN and not is_generic(word, word) for word in words)
