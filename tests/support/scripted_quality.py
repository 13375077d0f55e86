"""Golden questions and evaluations in memory, for one process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from server.services.quality import Evaluations, Golden
from storage.cursors import Page, decode_moment
from storage.errors import (
    CollectionNotFound,
    EvaluationNotFound,
    GoldenDocumentNotFound,
    GoldenQuestionExists,
    GoldenQuestionNotFound,
    ReportGone,
)
from storage.quality.evaluations import Evaluation, Options
from storage.quality.golden import GoldenInfo, Imported, NewGolden

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REPORT = "<!doctype html><title>Report</title><style>p { color: green }</style><p>Figures.</p>"


def _require(collection: str) -> None:
    if collection != "default":
        raise CollectionNotFound(collection)


class GoldenInMemory:
    """What `storage.quality.golden.GoldenStore` does for one subject; all questions are one page.

    `titles` are those of the documents that there are, by id and source.
    """

    def __init__(self) -> None:
        self.kept: dict[str, tuple[GoldenInfo, str]] = {}
        self.titles = {name: f"Page {n}" for n in (1, 2, 3) for name in (f"doc-{n}", f"docs/{n}.md")}

    async def list(self, collection: str, /, *, limit: int, cursor: str | None = None) -> Page[GoldenInfo]:  # noqa: ARG002
        _require(collection)
        decode_moment(cursor)
        return Page(tuple(reversed([info for info, _ in self.kept.values()])), None)

    async def every(self, collection: str, /) -> tuple[GoldenInfo, ...]:
        _require(collection)
        return tuple(info for info, _ in self.kept.values())

    async def add(self, collection: str, new: NewGolden, /) -> GoldenInfo:
        _require(collection)
        if any(asked == new.asked for _, asked in self.kept.values()):
            raise GoldenQuestionExists
        self._require_documents(new, known=())
        return self._keep(GoldenInfo(str(uuid4()), collection, "local", new.members, NOW, NOW), new)

    async def import_(self, collection: str, golden: Iterable[NewGolden], /) -> Imported:
        _require(collection)
        known = {asked for _, asked in self.kept.values()}
        new = [each for each in golden if each.asked not in known]
        for each in new:
            self._keep(GoldenInfo(str(uuid4()), collection, "local", each.members, NOW, NOW), each)
        named = {name for each in new for name in each.documents}
        return Imported(len(new), tuple(sorted(named - self.titles.keys())))

    async def replace(self, golden_id: str, new: NewGolden, /) -> GoldenInfo:
        if golden_id not in self.kept:
            raise GoldenQuestionNotFound(golden_id)
        known = self.kept[golden_id][0]
        self._require_documents(new, known=known.documents)
        return self._keep(replace(known, members=new.members), new)

    def _require_documents(self, new: NewGolden, *, known: Sequence[str]) -> None:
        missing = [name for name in new.documents if name not in self.titles and name not in known]
        if missing:
            raise GoldenDocumentNotFound(missing, field="documents")

    def _keep(self, info: GoldenInfo, new: NewGolden) -> GoldenInfo:
        titles = {name: self.titles[name] for name in new.documents if name in self.titles}
        info = replace(info, documents=new.documents, titles=titles)
        self.kept[info.id] = (info, new.asked)
        return info

    async def delete(self, golden_id: str, /) -> None:
        if self.kept.pop(golden_id, None) is None:
            raise GoldenQuestionNotFound(golden_id)


@dataclass
class EvaluationsInMemory:
    """What `storage.quality.evaluations.EvaluationStore` does; a run has ended as soon as it is looked at."""

    figures: Sequence[float] = (0.75, 0.5)
    golden: GoldenInMemory = field(default_factory=GoldenInMemory)
    kept: dict[str, Evaluation] = field(default_factory=dict)
    tickets: set[str] = field(default_factory=set)
    report_text: str = REPORT

    async def begin(
        self, collection: str, options: Options, /, *, name: str, questions: int, request_id: str | None
    ) -> Evaluation:
        del request_id
        moment = NOW + timedelta(minutes=len(self.kept))
        own_id = str(uuid4())
        self.kept[own_id] = Evaluation(
            own_id, collection, "local", name, options, questions, "queued", 0, None, None, None, moment, None
        )
        return self.kept[own_id]

    async def list(self, *, limit: int, collection: str | None, cursor: str | None = None) -> Page[Evaluation]:  # noqa: ARG002
        decode_moment(cursor)
        return Page(tuple(reversed(self.kept.values())), None)

    async def get(self, evaluation_id: str, /) -> Evaluation:
        if evaluation_id not in self.kept:
            raise EvaluationNotFound(evaluation_id)
        known = self.kept[evaluation_id]
        place = list(self.kept).index(evaluation_id)
        ended = replace(known, status="succeeded", summary=self._summary(known, place), finished_at=NOW)
        self.kept[evaluation_id] = ended
        return ended

    def _summary(self, known: Evaluation, place: int) -> list[dict[str, Any]]:
        value = self.figures[place % len(self.figures)]
        return [
            {"engine": each, "generation": "1", "metrics": {"documents": {"ndcg@10": value}}, "failed": 0}
            for each in known.options.engines
        ]

    async def result(self, evaluation_id: str, /) -> str:
        known = await self.get(evaluation_id)
        place = list(self.kept).index(evaluation_id)
        value = self.figures[place % len(self.figures)]
        # what is unanswerable by now was not judged in the first run
        questions = [
            {
                "id": str(number),
                "question": str(info.members["question"]),
                "metrics": {}
                if place == 0 and info.members.get("unanswerable")
                else {"documents": {"ndcg@10": value if number == 0 else 1.0}},
                "found": [{"source": f"docs/{place}.md", "right": value > 0.6}],
            }
            for number, (info, _) in enumerate(self.golden.kept.values())
        ]
        return json.dumps({"engines": [{"engine": each, "questions": questions} for each in known.options.engines]})

    async def ticket(self, evaluation_id: str, /) -> str:
        await self.get(evaluation_id)
        self.tickets.add(made := uuid4().hex)
        return made

    async def report(self, ticket: str, /) -> str:
        if ticket not in self.tickets:
            raise ReportGone
        return self.report_text

    async def delete(self, evaluation_id: str, /) -> None:
        if self.kept.pop(evaluation_id, None) is None:
            raise EvaluationNotFound(evaluation_id)


def scripted_quality() -> tuple[Golden, Evaluations]:
    """Return the services over stores in memory."""
    golden: Any = GoldenInMemory()
    evaluations: Any = EvaluationsInMemory(golden=golden)
    return Golden(golden), Evaluations(evaluations, golden=golden)
