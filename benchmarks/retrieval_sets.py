"""Questions with their right documents, and the documents to find them in: XQuAD, RepliQA, any folder in BEIR's layout.

A document is written to a file of its own, and its source is that file's name: ``xquad/017.txt``.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

HOW_TO_GET_THEM = (
    "XQuAD and RepliQA are looked for in --data: xquad.en.json (github.com/google-deepmind/xquad) and "
    "repliqa-50.json (50 questions of ServiceNow's RepliQA, with document_id, document_extracted, question)"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question.

    Attributes:
        relevant: gains by source.
        answer: where the answer stands in the one right document, in characters; None where nobody knows.

    """

    id: str
    text: str
    relevant: Mapping[str, int]
    answer: tuple[int, int] | None = None


@dataclass(frozen=True)
class QuestionSet:
    """Documents by source, and questions about them."""

    name: str
    documents: dict[str, str] = field(default_factory=dict)
    questions: list[Asked] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Write the documents below `folder`, those that are there left alone; return where they are."""
        for source, text in self.documents.items():
            path = folder / source
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)
        return folder / self.name


def xquad(file: Path) -> QuestionSet:
    """Read XQuAD (SQuAD's layout): a paragraph is a document, its answers are spans of it."""
    read = QuestionSet("xquad")
    paragraphs = (paragraph for article in json.loads(file.read_text())["data"] for paragraph in article["paragraphs"])
    for number, paragraph in enumerate(paragraphs):
        source, text = f"xquad/{number:03}.txt", paragraph["context"]
        read.documents[source] = text
        for asked in paragraph["qas"]:
            answer = asked["answers"][0]
            span = answer["answer_start"], answer["answer_start"] + len(answer["text"])
            read.questions.append(Asked(asked["id"], asked["question"], {source: 1}, span))
    return read


def repliqa(file: Path) -> QuestionSet:
    """Read RepliQA: an article stands there once for each of its questions."""
    read = QuestionSet("repliqa")
    for number, row in enumerate(json.loads(file.read_text())):
        source = f"repliqa/{row['document_id']}.txt"
        read.documents[source] = row["document_extracted"]
        read.questions.append(Asked(f"repliqa-{number}", row["question"], {source: 1}))
    return read


def beir(folder: Path) -> QuestionSet:
    """Read a folder in BEIR's layout: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/test.tsv`` or all ``qrels/*.tsv``.

    Ids become numbers, as they need not be fit to name files. Questions without judgements are left out.
    """
    read = QuestionSet(folder.name)
    sources: dict[str, str] = {}
    for number, row in enumerate(_lines(folder / "corpus.jsonl")):
        sources[row["_id"]] = source = f"{read.name}/{number:06}.txt"
        read.documents[source] = "\n\n".join(part for part in (row.get("title", ""), row["text"]) if part)
    relevant = _judgements(folder / "qrels", sources)
    for row in _lines(folder / "queries.jsonl"):
        if gains := relevant.get(row["_id"]):
            read.questions.append(Asked(row["_id"], row["text"], gains))
    return read


def every(questions: list[Asked], *, count: int | None) -> list[Asked]:
    """Return `count` questions from all over the set; None: all of them."""
    if count is None or count >= len(questions):
        return questions
    return [questions[number * len(questions) // count] for number in range(count)]


def _lines(file: Path) -> Iterator[dict[str, str]]:
    with file.open() as lines:
        for line in lines:
            if line.strip():
                yield json.loads(line)


def _judgements(folder: Path, sources: Mapping[str, str]) -> dict[str, dict[str, int]]:
    files = [folder / "test.tsv"] if (folder / "test.tsv").exists() else sorted(folder.glob("*.tsv"))
    relevant: dict[str, dict[str, int]] = defaultdict(dict)
    for file in files:
        with file.open(newline="") as lines:
            for query, document, gain in islice(csv.reader(lines, delimiter="\t"), 1, None):
                if int(gain) > 0 and document in sources:
                    relevant[query][sources[document]] = int(gain)
    return relevant
