"""Golden questions: questions whose right documents, passages or answers are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GoldenPassage:
    """A right passage: a range of a document, or a text (from any document if none is named).

    Attributes:
        document: its id or source.
        start, end: character offsets in the document, `end` exclusive; both or none.

    """

    document: str | None = None
    start: int | None = None
    end: int | None = None
    text: str | None = None


@dataclass(frozen=True, slots=True)
class GoldenQuestion:
    """A question and its right results.

    Attributes:
        documents: right documents, by id or by source.
        passages: right passages; all of them should be found.
        answers: spans of which a right passage contains one; ignored if there are `passages`.
        unanswerable: nothing is right.
        id: given by the author; `key` identifies questions with and without one.
        answer: reference for judging whether a written answer is correct.
        filters: as in the API.
        grades: of documents that are more relevant than others; the default is 1.
        kind: a label to group results by, such as ``typo``.
        line: of the file that it was read from.

    """

    question: str
    documents: frozenset[str] = frozenset()
    passages: tuple[GoldenPassage, ...] = ()
    answers: tuple[str, ...] = ()
    unanswerable: bool = False
    id: str = ""
    answer: str | None = None
    filters: Mapping[str, object] | None = None
    grades: Mapping[str, int] = field(default_factory=dict)
    kind: str = ""
    line: int = field(default=0, compare=False)

    @property
    def key(self) -> str:
        """The question's id, or else a digest of its words and filters."""
        return self.id or hashlib.sha256(self.asked.encode()).hexdigest()[:12]

    @property
    def asked(self) -> str:
        """What identifies the question: its words and filters."""
        return json.dumps([" ".join(self.question.split()), self.filters], sort_keys=True)

    @property
    def named_documents(self) -> frozenset[str]:
        """The right documents, those of right passages included."""
        return self.documents | {passage.document for passage in self.passages if passage.document is not None}

    @property
    def reference(self) -> str | None:
        """What answers are compared with: the reference answer, or else the spans."""
        return self.answer or "; ".join(self.answers) or None

    def json_line(self) -> str:
        """Return the question as a line of a file, in ASCII, so that no encoding or exotic line end can break it."""
        return json.dumps(self.members())

    def members(self) -> dict[str, object]:
        """Return the question as a line of a file has it."""
        members: dict[str, object] = {
            "id": self.id,
            "question": self.question,
            "documents": sorted(self.documents),
            "grades": dict(self.grades),
            "passages": [_passage_members(passage) for passage in self.passages],
            "answers": list(self.answers),
            "unanswerable": self.unanswerable,
            "answer": self.answer,
            "filters": self.filters,
            "kind": self.kind,
        }
        return {name: value for name, value in members.items() if value or name == "question"}


def _passage_members(passage: GoldenPassage) -> dict[str, object]:
    members = {"document": passage.document, "start": passage.start, "end": passage.end, "text": passage.text}
    return {name: value for name, value in members.items() if value is not None}
