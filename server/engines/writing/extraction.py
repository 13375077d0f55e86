"""Extractive answers: the best sentences, quoted, without a language model."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedding.tokenizer import load_tokenizer
from ingestion.chunking.sentences import sentences
from server.engines.writing.citations import without_markers

if TYPE_CHECKING:
    from embedding.embedder import Embedder
    from server.engines.writing.prompts import Passage

PASSAGES = 5
SENTENCES = 24  # embedded for one answer; more take time and are seldom selected
QUOTED = 3
SHORTEST, LONGEST = 25, 600  # characters; shorter is a caption, longer a table
BEST_SHARE = 0.75  # fraction of the best sentence's score below which sentences are not quoted
PROSE_SHARE = 0.85  # fraction of letters, digits and spaces; code and tables have less
RANK_STEP = 0.03  # bonus for a passage's rank, in units of cosine
_HEADING = re.compile(r"^\s{0,3}#{1,6}\s.*$", re.MULTILINE)
_FENCE = re.compile(r"^\s{0,3}(```|~~~).*?(^\s{0,3}\1|\Z)", re.MULTILINE | re.DOTALL)
_MARKUP = re.compile(r"^\s*(?:[-*+]|\d{1,3}[.)]|>)\s+|[*`]{1,3}|!?\[([^\]\n]*)\]\([^)\s]*\)", re.MULTILINE)


async def best_sentences(question: str, passages: Sequence[Passage], *, embedder: Embedder) -> list[str]:
    """Return the sentences nearest to the question by cosine, each quoted and cited, ``“…” [2]``, best first."""
    candidates = _candidates(passages)
    if not candidates:
        return [f"“{without_markers(passages[0].text)[:LONGEST].strip()}” [1]"]
    # sentences are compared together with their heading, which says what "it" is
    vectors = await embedder.queries([question, *(f"{each.heading}: {each.text}" for each in candidates)])
    scores = [
        float(vector @ vectors[0]) - RANK_STEP * (each.number - 1)
        for vector, each in zip(vectors[1:], candidates, strict=True)
    ]
    best = sorted(range(len(candidates)), key=lambda index: -scores[index])[:QUOTED]
    return [
        f"“{candidates[index].text}” [{candidates[index].number}]"
        for index in best
        if scores[index] >= BEST_SHARE * scores[best[0]] or index == best[0]
    ]


def bounded(text: str, *, stop: Sequence[str], max_tokens: int | None, embedder: Embedder) -> tuple[str, bool]:
    """Return the text before the first of the `stop` texts, with at most `max_tokens`; and whether these cut it.

    Tokens are those of the embedding model.
    """
    ends = [end for each in stop if each and (end := text.find(each)) >= 0]
    text = text[: min(ends, default=len(text))]
    if max_tokens is None:
        return text, False
    tokens = load_tokenizer(str(embedder.files.tokenizer_file)).encode(text, add_special_tokens=False).offsets
    return (text[: tokens[max_tokens - 1][1]], True) if len(tokens) > max_tokens else (text, False)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence, the number of its passage, and its heading."""

    text: str
    number: int
    heading: str


def _candidates(passages: Sequence[Passage]) -> list[_Candidate]:
    """Return the candidate sentences; headings, code and questions are none."""
    found: dict[str, _Candidate] = {}
    for number, passage in enumerate(passages[:PASSAGES], start=1):
        heading = passage.label.rpartition(" > ")[2]
        before, own = _parted(passage.text, heading)
        for part, above in ((own, heading), (before, "")):
            for text in quotable_sentences(part):
                found.setdefault(text, _Candidate(text, number, above))
    return list(found.values())[:SENTENCES]


def _parted(text: str, heading: str) -> tuple[str, str]:
    """Split a passage that begins with the end of the previous section: return that, and the rest."""
    line = re.search(rf"^\s{{0,3}}#{{1,6}}\s+{re.escape(heading)}\s*$", text, re.MULTILINE) if heading else None
    return (text[: line.start()], text[line.start() :]) if line else ("", text)


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
