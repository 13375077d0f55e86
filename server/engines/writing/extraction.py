"""Texts of passages as an answer without a language model shows them: units with their citations, single sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from embedding.tokenizer import load_tokenizer
from ingestion.chunking.sentences import sentences
from server.engines.quoting.composing import quoted
from server.engines.writing.citations import without_markers
from server.engines.writing.stopping import before_stop

if TYPE_CHECKING:
    from embedding.embedder import Embedder
    from server.engines.quoting.units import Unit

SHORTEST, LONGEST = 25, 600  # characters; shorter is a caption, longer a table
PROSE_SHARE = 0.85  # fraction of letters, digits and spaces; code and tables have less
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s.*$", re.MULTILINE)
_FENCE = re.compile(r"^\s{0,3}(```|~~~).*?(^\s{0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
_MARKUP = re.compile(r"^\s*(?:[-*+]|\d{1,3}[.)]|>)\s+|[*`]{1,3}|!?\[([^\]\n]*)\]\([^)\s]*\)", re.MULTILINE)


def cited(unit: Unit) -> str:
    """Return a unit as a quotation with its citation: ``“…” [2]``; rows and code, which marks would spoil, without.

    What it explains stands before the marks, ``--quiet: “…” [2]``: in the document it stands elsewhere.
    """
    if unit.kind == "code":
        before, code = (f"{unit.before}\n", unit.text) if unit.before else ("", unit.text)
        return f"{without_markers(before)}```\n{code}\n```\n[{unit.number}]"
    text = without_markers(quoted(unit))
    if unit.kind in {"row", "list", "column"}:
        return f"{text} [{unit.number}]"
    term = f"{without_markers(unit.term)}: "
    if unit.term and text.startswith(term):
        return f"{term}“{text.removeprefix(term)}” [{unit.number}]"
    return f"“{text}” [{unit.number}]"


def bounded(text: str, *, stop: Sequence[str], max_tokens: int | None, embedder: Embedder) -> tuple[str, bool]:
    """Return the text before the first of the `stop` texts, with at most `max_tokens`; and whether these cut it.

    Tokens are those of the embedding model.
    """
    text = before_stop(text, stop)
    if max_tokens is None:
        return text, False
    tokens = load_tokenizer(str(embedder.files.tokenizer_file)).encode(text, add_special_tokens=False).offsets
    return (text[: tokens[max_tokens - 1][1]], True) if len(tokens) > max_tokens else (text, False)


def quotable_sentences(text: str) -> Iterator[str]:
    """Yield a passage's standalone sentences, without markup and without anything that looks like a citation."""
    prose = _HEADING.sub("\n", _FENCE.sub("\n", text))
    for start, end in sentences(prose, 0, len(prose)):
        sentence = " ".join(without_markers(_MARKUP.sub(r"\1", prose[start:end])).split())
        if SHORTEST <= len(sentence) <= LONGEST and not sentence.endswith((":", "?")) and is_prose(sentence):
            yield sentence


def is_prose(text: str) -> bool:
    """Tell whether a text is prose rather than code, a table or a command."""
    words = sum(character.isalnum() or character.isspace() for character in text)
    return "|" not in text and words >= PROSE_SHARE * len(text)
