"""What is made of the passages: right answers, and refusals of questions that the documents do not answer.

docqa (natural questions over manual pages, by kind) and XQuAD, each a collection of its own, asked over ``/query`` of a
server without a language model. Unanswerable are docqa's own, each set's questions asked of the other's documents, and
questions whose page or paragraph is filtered out.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from benchmarks.corpus import ManualMissing
from benchmarks.figures import percentile, table
from benchmarks.laboratory import ROOT, Laboratory, open_laboratory
from benchmarks.retrieval_sets import xquad
from server.engines.writing.remarks import AMBIGUOUS, UNMENTIONED

HOW_TO_GET_THEM = "--data: a folder with xquad.en.json and docqa/ (pages/ and given.json)"
FIRST = 240
"""Characters that a reader sees at once."""
SAMPLED = 200
_MARKER = re.compile(r"\s*\[\d+\]")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question.

    Attributes:
        answers: patterns of which one must be in a right answer; `all_of`: patterns that all must be. None where the
            documents hold no answer.
        source: of the document with the answer.

    """

    text: str
    kind: str
    answers: Sequence[str] = ()
    all_of: Sequence[str] = ()
    source: str = ""
    is_answerable: bool = True

    def is_right(self, answer: str) -> bool:
        """Tell whether an answer says what it should."""
        said = _MARKER.sub("", answer)
        if self.all_of:
            return all(matches(pattern, said) for pattern in self.all_of)
        return any(matches(pattern, said) for pattern in self.answers)


def run(options: argparse.Namespace) -> str:
    """Measure; return the tables."""
    data = options.data or ROOT.parent / "shared" / "data"
    docqa, paragraphs = read_docqa(data), read_xquad(data)
    with open_laboratory(options.folder) as laboratory:
        ingest(laboratory, data)
        with laboratory.serving("server", LLM__PROVIDER="extractive", LOG__LEVEL="warning") as url:
            ask = _asking(url)
            return "\n\n".join(
                [
                    _by_kind("docqa", [(each, ask(each, "docqa")) for each in docqa if each.is_answerable]),
                    _by_kind("XQuAD", [(each, ask(each, "xquad")) for each in paragraphs]),
                    _refusals(docqa, paragraphs, ask),
                ]
            )


def ingest(laboratory: Laboratory, data: Path) -> None:
    """Bring both sets' documents into collections; those that are there are left alone."""
    folder = laboratory.folder / "documents"
    written = xquad(data / "xquad.en.json").write(folder)
    laboratory.run("ingestion", str(written), "--collection", "xquad", "--base", str(folder))
    pages = str((data / "docqa" / "pages").resolve())
    laboratory.run("ingestion", pages, "--collection", "docqa", "--base", pages)


def read_docqa(data: Path) -> list[Asked]:
    """Read docqa's questions.

    Raises:
        ManualMissing: it is not there.

    """
    file = data / "docqa" / "given.json"
    if not file.exists():
        raise ManualMissing(HOW_TO_GET_THEM)
    return [
        Asked(row["question"], row["subtype"].replace("_", "-"), is_answerable=False)
        if row["type"] == "unanswerable"
        else Asked(row["question"], row["type"], row["answers"], row.get("all_of") or (), row["page"])
        for row in json.loads(file.read_text())
    ]


def read_xquad(data: Path) -> list[Asked]:
    """Read a sample of XQuAD's questions.

    Raises:
        ManualMissing: it is not there.

    """
    file = data / "xquad.en.json"
    if not file.exists():
        raise ManualMissing(HOW_TO_GET_THEM)
    read = xquad(file)
    questions = random.Random(1).sample(read.questions, SAMPLED)  # noqa: S311 (a sample)
    return [
        Asked(each.text, "question", [read.documents[source][slice(*each.answer)]], (), source)
        for each in questions
        if each.answer
        for source in each.relevant
    ]


def _asking(url: str) -> Any:  # noqa: ANN401 (a function)
    client = httpx.Client(base_url=url, timeout=180)

    def ask(asked: Asked, collection: str, *, without_its_page: bool = False) -> dict[str, Any]:
        body: dict[str, Any] = {"question": asked.text, "collection": collection}
        if without_its_page:
            body["filters"] = {"filters": [{"key": "source", "value": asked.source, "operator": "!="}]}
        started = time.perf_counter()
        response = client.post("/query", json=body)
        response.raise_for_status()
        return {**response.json(), "ms": (time.perf_counter() - started) * 1000}

    return ask


def _by_kind(name: str, asked: Sequence[tuple[Asked, Mapping[str, Any]]]) -> str:
    groups: dict[str, list[tuple[Asked, Mapping[str, Any]]]] = defaultdict(list)
    for each, answer in asked:
        groups["all"].append((each, answer))
        groups[each.kind].append((each, answer))
    head = ["", "n", "passage", "right", f"in its first {FIRST}", "refused", "p50 ms"]
    return f"{name}\n\n{table(head, [[kind, *_shares(group)] for kind, group in sorted(groups.items())])}"


def _shares(asked: Sequence[tuple[Asked, Mapping[str, Any]]]) -> Iterator[object]:
    yield len(asked)
    yield _share(any(each.is_right(found["text"]) for found in answer["citations"]) for each, answer in asked)
    for longest in (None, FIRST):
        yield _share(not _refused(answer) and each.is_right(answer["answer"][:longest]) for each, answer in asked)
    yield _share(_refused(answer) for _, answer in asked)
    yield percentile([answer["ms"] for _, answer in asked], 0.5)


def _refusals(docqa: Sequence[Asked], paragraphs: Sequence[Asked], ask: Any) -> str:  # noqa: ANN401 (a function)
    answerable = [each for each in docqa if each.is_answerable]
    sets = {
        "docqa, answerable": [ask(each, "docqa") for each in answerable],
        "docqa, off-topic": [ask(each, "docqa") for each in docqa if each.kind == "off-topic"],
        "docqa, near-topic": [ask(each, "docqa") for each in docqa if each.kind == "near-topic"],
        "docqa, its page taken out": [ask(each, "docqa", without_its_page=True) for each in answerable],
        "XQuAD, answerable": [ask(each, "xquad") for each in paragraphs],
        "XQuAD, its paragraph taken out": [ask(each, "xquad", without_its_page=True) for each in paragraphs],
        "XQuAD's questions of docqa's pages": [ask(each, "docqa") for each in paragraphs],
        "docqa's questions of XQuAD's paragraphs": [ask(each, "xquad") for each in docqa],
    }
    rows = [
        [name, len(answers), _share(map(_refused, answers)), _noted(answers, AMBIGUOUS), _noted(answers, UNMENTIONED)]
        for name, answers in sets.items()
    ]
    head = ["", "n", "refused", "fits several places", "names what no passage mentions"]
    return f"Refused and noted\n\n{table(head, rows)}"


def _noted(answers: Sequence[Mapping[str, Any]], beginning: str) -> int:
    return sum(any(note.startswith(beginning) for note in answer["engine"]["notes"]) for answer in answers)


def _refused(answer: Mapping[str, Any]) -> bool:
    return bool(answer["finish_reason"] == "no_context")


def _share(values: Any) -> float:  # noqa: ANN401 (booleans)
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def matches(pattern: str, text: str) -> bool:
    """Tell whether a text has what a pattern asks for: a regular expression after ``re:``, else the words."""
    if pattern.startswith("re:"):
        return re.search(pattern[3:], text, re.IGNORECASE | re.DOTALL) is not None
    return pattern.lower() in text.lower()
