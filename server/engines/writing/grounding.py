"""Grounding for very small models: a sentence is kept only if a passage contains its words, and then cites it.

The local model is a base model of 270 million parameters. It answers many questions well from a good passage, never
cites, and invents the rest (a wrong port, the same sentence twenty times). So each of its sentences is checked before
it is sent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from server.engines.writing.citations import without_markers
from server.engines.writing.extraction import is_prose

FEWEST = 4  # minimum number of content words: one or two may occur anywhere in a passage, in another sense
SHARE = 0.75  # fraction of a sentence's words that one passage must contain; it must contain every number
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_ENDS = (".", "!", "。")  # a text without an end is incomplete
_WORD = re.compile(r"[^\W_]+")
_LONG = 4  # minimum length of a content word; numbers may be shorter


async def grounded(pieces: AsyncIterator[str], passages: Sequence[str]) -> AsyncGenerator[str, None]:
    """Yield the sentences that a passage supports, each with its citation, ``… [2]``; stop at the first other one."""
    words = [set(_words(passage)) for passage in passages]
    seen: set[str] = set()
    async for sentence in _sentences(pieces):
        key = " ".join(_words(sentence))
        number = _passage_of(sentence, words)
        if number is None or key in seen:
            return
        yield f"{' ' if seen else ''}{without_markers(sentence)} [{number}]"
        seen.add(key)


async def _sentences(pieces: AsyncIterator[str]) -> AsyncGenerator[str, None]:
    held = ""
    async for piece in pieces:
        *whole, held = _SENTENCE_END.split(held + piece)
        for sentence in whole:
            if sentence.strip():
                yield " ".join(sentence.split())
    if held.strip():
        yield " ".join(held.split())


def _passage_of(sentence: str, passages: Sequence[set[str]]) -> int | None:
    """Return the number, from 1, of the passage that supports the sentence best, or None."""
    words = _words(sentence)
    telling = {word for word in words if len(word) >= _LONG or word.isdigit()}
    numbers = {word for word in words if any(character.isdigit() for character in word)}
    if len(telling) < FEWEST or not sentence.endswith(_ENDS) or not is_prose(sentence):
        return None
    shares = [len(telling & passage) / len(telling) if numbers <= passage else 0.0 for passage in passages]
    best = max(range(len(shares)), key=shares.__getitem__)
    return best + 1 if shares[best] >= SHARE else None


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())
