"""The line of title and headings that is embedded above a chunk, and the tokens that it leaves for the chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ingestion.types import CONTEXT_CHARS

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SEPARATOR = " > "


class Context(NamedTuple):
    """How much of the context line is embedded, and the tokens left for the chunk."""

    chars: int
    budget: int


class Contexts:
    """The contexts of one document's sections.

    Args:
        title: the document's.
        tokenizer: the embedding model's.
        max_tokens: what the model reads at once.

    """

    def __init__(self, title: str, *, tokenizer: Tokenizer, max_tokens: int) -> None:
        self._title = title
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._found: dict[tuple[str, ...], Context] = {}

    def of(self, path: tuple[str, ...]) -> Context:
        """Give the context line at most a third of the limit; its end (the innermost heading) has priority."""
        found = self._found.get(path)
        if found is None:
            line = context_line(self._title, SEPARATOR.join(path) or None)
            chars = min(CONTEXT_CHARS, len(line))
            while (used := self.tokens(line[len(line) - chars :] + "\n")) > self._max_tokens // 3 and chars:
                chars //= 2
            found = self._found[path] = Context(chars, self._max_tokens - used)
        return found

    def tokens(self, text: str) -> int:
        """Return the tokens of a whole text that is embedded, with those that the model adds."""
        return len(self._tokenizer.encode(text))


def context_line(title: str, heading: str | None) -> str:
    """Return the context line embedded above a chunk: title and path of headings, without repetition."""
    if heading is None or heading == title:
        return title
    return heading if heading.startswith(title + SEPARATOR) else title + SEPARATOR + heading
