"""Judging which of the passages found are right."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from relevance.golden import GoldenPassage, GoldenQuestion

Level = Literal["passages", "documents"]
LEVELS: tuple[Level, ...] = ("passages", "documents")


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage found; `start` and `end` are character offsets in its document, `end` exclusive."""

    document_id: str
    source: str
    start: int
    end: int
    text: str

    def stems_from(self, document: str | None) -> bool:
        """Tell whether it is from a document, given by id or source; None: any document."""
        return document is None or document in (self.document_id, self.source)


@dataclass(frozen=True, slots=True)
class Ranking:
    """A ranking of what was found for a question, and the grades of what is right, under the same names.

    Attributes:
        found: best first, no name twice.
        grades: of what is right, from 1.

    """

    found: tuple[str, ...]
    grades: Mapping[str, int]


def ranking(golden: GoldenQuestion, found: Sequence[FoundPassage], *, level: Level) -> Ranking | None:
    """Rank what was found; None if the question does not define what is right on this level."""
    return _passage_ranking(golden, found) if level == "passages" else document_ranking(golden, found)


def document_ranking(golden: GoldenQuestion, found: Sequence[FoundPassage]) -> Ranking | None:
    """Rank documents, each by its best passage and under the name that the question uses."""
    right = golden.named_documents
    if not right:
        return None
    named = (passage.source if passage.source in right else passage.document_id for passage in found)
    return Ranking(tuple(dict.fromkeys(named)), {name: golden.grades.get(name, 1) for name in right})


def is_right(golden: GoldenQuestion, passage: FoundPassage) -> bool:
    """Tell whether a passage is right, as exactly as the question defines it."""
    if golden.passages or golden.answers:
        return any(_matches(golden, passage))
    return any(passage.stems_from(document) for document in golden.documents)


def _passage_ranking(golden: GoldenQuestion, found: Sequence[FoundPassage]) -> Ranking | None:
    """Rank passages under the names of what they match.

    A passage that contains several right ones counts as each of them, in succession. One that only repeats what a
    higher-ranked one contains is not right again, but takes a rank.
    """
    wanted = len(golden.passages) or bool(golden.answers)
    if not wanted:
        return None
    left = set(range(wanted))
    names: list[str] = []
    for rank, passage in enumerate(found):
        matched = [place for place, is_match in enumerate(_matches(golden, passage)) if is_match and place in left]
        left.difference_update(matched)
        names += [f"right {place}" for place in matched] or [f"found {rank}"]
    return Ranking(tuple(names), {f"right {place}": 1 for place in range(wanted)})


def _matches(golden: GoldenQuestion, passage: FoundPassage) -> list[bool]:
    """Tell which of the right passages, or else of the answers, a passage contains."""
    if golden.passages:
        return [_is_passage(wanted, passage) for wanted in golden.passages]
    is_of_right_document = not golden.documents or any(passage.stems_from(name) for name in golden.documents)
    return [is_of_right_document and any(holds(passage.text, answer) for answer in golden.answers)]


def _is_passage(wanted: GoldenPassage, passage: FoundPassage) -> bool:
    """Tell whether they overlap by half of the shorter one: splitters and authors choose different boundaries."""
    if not passage.stems_from(wanted.document):
        return False
    if wanted.text is not None:
        return _shares_half(normalized(wanted.text).split(), normalized(passage.text).split())
    assert wanted.start is not None  # noqa: S101 (the reader's word)
    assert wanted.end is not None  # noqa: S101 (see above)
    common = min(wanted.end, passage.end) - max(wanted.start, passage.start)
    return common > 0 and 2 * common >= min(wanted.end - wanted.start, passage.end - passage.start)


def _shares_half(left: list[str], right: list[str]) -> bool:
    """Tell whether one contains the other, or they overlap end to beginning, by half of the shorter one."""
    shorter, longer = sorted((left, right), key=len)
    if not shorter:
        return False
    if f" {' '.join(shorter)} " in f" {' '.join(longer)} ":
        return True
    least = -(-len(shorter) // 2)
    lengths = range(least, len(shorter) + 1)
    return any(left[-n:] == right[:n] or right[-n:] == left[:n] for n in lengths)


def holds(text: str, answer: str) -> bool:
    """Tell whether a text contains an answer as whole words, ignoring case and white space.

    ``1500`` does not contain ``15``. Word boundaries are not required in scripts without case, such as Chinese.
    """
    text, answer = normalized(text), normalized(answer)
    place = text.find(answer)
    while place >= 0:
        end = place + len(answer)
        if not (_joined(text[place - 1 : place], answer[0]) or _joined(answer[-1], text[end : end + 1])):
            return True
        place = text.find(answer, place + 1)
    return False


def normalized(text: str) -> str:
    """Normalise a text for comparison: NFKC, case-folded, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _joined(left: str, right: str) -> bool:
    """Tell whether two characters are part of one word."""
    return all(each and (each.isdigit() or each.upper() != each.lower()) for each in (left, right))
