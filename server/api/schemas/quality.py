"""Golden questions and evaluations as clients write and read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from server.api.problems import INTERNAL, KINDS
from server.api.schemas.fields import NO_NUL, CollectionName, Text, Whole
from server.api.schemas.jobs import ProgressOut
from server.api.schemas.pages import PageOut, PageQuery
from server.api.schemas.questions import QuestionText
from storage.generation import DEFAULT_COLLECTION
from storage.quality.evaluations import Evaluation, Options
from storage.quality.golden import GoldenInfo, Imported

SHOWN_MISSING = 20

Line = {"pattern": NO_NUL}
Name = Annotated[Text, Field(min_length=1, max_length=4000, json_schema_extra=Line)]
Long = Annotated[Text, Field(min_length=1, max_length=100_000, json_schema_extra=Line)]
Grade = Annotated[int, Field(ge=1, le=1000), Whole]
Offset = Annotated[int, Field(ge=0, le=2**31 - 1), Whole]
QualityId = Annotated[Text, Field(min_length=1, max_length=64, json_schema_extra=Line)]
Engine = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,63}(\+[a-z_]{1,40}(=[A-Za-z0-9_.-]{1,40})?){0,4}$",
        max_length=300,
        description="A mode, with options of a request behind `+`: `hybrid`, `hybrid+rerank`.",
    ),
]


class PassageBody(BaseModel):
    """A right passage: a place in a document, or a text."""

    model_config = ConfigDict(strict=True, extra="forbid")
    document: Name | None = Field(None, description="Id or source; unset: any.")
    start: Offset | None = Field(None, description="Offset in characters.")
    end: Offset | None = Field(None, description="Of its end.")
    text: Long | None = None


class GoldenMembers(BaseModel):
    """A golden question as a line of a file has it."""

    model_config = ConfigDict(strict=True, extra="forbid")
    question: QuestionText
    documents: list[Name] = Field([], max_length=1000, description="The right documents, each by id or source.")
    passages: list[PassageBody] = Field([], max_length=1000, description="Right passages; all are to be found.")
    answers: list[Long] = Field([], max_length=1000, description="A right passage holds one of them.")
    unanswerable: bool = Field(False, description="Nothing is right.")
    answer: Long | None = Field(None, description="Reference answer, for `judge`.")
    filters: dict[str, Any] | None = Field(None, description="As in `/query`.")
    grades: dict[str, Grade] = Field({}, max_length=1000, description="Of documents that are more right than others.")
    kind: Annotated[Text, Field(max_length=60, json_schema_extra=Line)] = Field("", description="A label of yours.")
    id: Annotated[Text, Field(max_length=200, json_schema_extra=Line)] = Field("", description="Yours, if any.")

    def members(self) -> dict[str, object]:
        """Return what is given, as a line has it."""
        told = self.model_dump(include={*GoldenMembers.model_fields})
        told["passages"] = [each.model_dump(exclude_none=True) for each in self.passages]
        return {name: value for name, value in told.items() if value or name == "question"}


class GoldenBody(GoldenMembers):
    """A golden question to keep."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"question": "How do I change the port?", "documents": ["docs/configuration.md"]},
                {"question": "Who won in 1998?", "collection": "default", "unanswerable": True},
            ]
        },
    )
    collection: CollectionName = DEFAULT_COLLECTION


class GoldenOut(BaseModel):
    """A golden question."""

    id: str
    collection: str
    subject: str = Field(description="Who wrote it.")
    golden: dict[str, Any] = Field(description="The question as a line of a file has it.")
    titles: dict[str, str] = Field(
        description="Titles of its documents, by its names for them; one without is not there, or not for you."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, info: GoldenInfo) -> Self:
        """Return a golden question as clients read it."""
        return cls(
            id=info.id,
            collection=info.collection,
            subject=info.subject,
            golden=dict(info.members),
            titles=dict(info.titles),
            created_at=info.created_at,
            updated_at=info.updated_at,
        )


class GoldenQuery(PageQuery):
    """Which golden questions."""

    collection: CollectionName = DEFAULT_COLLECTION


class OfCollection(BaseModel):
    """Of which collection."""

    model_config = ConfigDict(extra="forbid")
    collection: CollectionName = DEFAULT_COLLECTION


class ImportedOut(BaseModel):
    """What became of a file of golden questions."""

    lines: int = Field(description="Lines with a question, or with feedback.")
    added: int = Field(description="Of these, questions that were kept; the others were there, or tell nothing.")
    missing: int = Field(description="Documents that they name, and that are not there, or not for you.")
    missing_documents: list[str] = Field(description=f"The first {SHOWN_MISSING} of these, as they are named.")

    @classmethod
    def of(cls, lines: int, imported: Imported) -> Self:
        """Return what became of that many lines."""
        missing = imported.missing
        return cls(
            lines=lines, added=imported.added, missing=len(missing), missing_documents=list(missing[:SHOWN_MISSING])
        )


class EvaluationBody(BaseModel):
    """An evaluation to run."""

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"examples": [{"engines": ["hybrid", "vector"]}, {"collection": "default", "k": 5}]},
    )
    collection: CollectionName = DEFAULT_COLLECTION
    engines: list[Engine] = Field(["hybrid"], min_length=1, max_length=6)
    k: Annotated[int, Field(ge=1, le=100), Whole] = Field(10, description="Passages of each question.")
    judge: bool = Field(False, description="Let answers be written, and judged by the model; it costs calls.")
    name: Annotated[Text, Field(max_length=200, json_schema_extra=Line)] = Field("", description="To know it by.")

    def to_options(self) -> Options:
        """Return the options."""
        return Options(tuple(dict.fromkeys(self.engines)), k=self.k, judge=self.judge)


class EvaluationOut(BaseModel):
    """An evaluation."""

    id: str
    collection: str
    subject: str
    name: str
    engines: list[str]
    k: int
    judge: bool
    questions: int = Field(description="Golden questions when it was begun.")
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    progress: ProgressOut = Field(description="Questions asked, over all engines.")
    error: dict[str, Any] | None = Field(description="A problem: why it failed, or its last attempt did.")
    summary: list[dict[str, Any]] | None = Field(
        description="Of each engine: `metrics` by level and name, `latency_ms`, `failed`, `judged`, `no_answer`."
    )
    created_at: datetime
    finished_at: datetime | None

    @classmethod
    def of(cls, evaluation: Evaluation) -> Self:
        """Return an evaluation as clients read it."""
        error = evaluation.error
        kind = None if error is None else KINDS.get(error.name, INTERNAL)
        told = None if error is None or kind is None else _problem(kind.slug, kind.title, kind.status, error.detail)
        return cls(
            id=evaluation.id,
            collection=evaluation.collection,
            subject=evaluation.subject,
            name=evaluation.name,
            engines=list(evaluation.options.engines),
            k=evaluation.options.k,
            judge=evaluation.options.judge,
            questions=evaluation.questions,
            status=evaluation.status,
            progress=ProgressOut(done=evaluation.done, total=evaluation.total),
            error=told,
            summary=None if evaluation.summary is None else [dict(each) for each in evaluation.summary],
            created_at=evaluation.created_at,
            finished_at=evaluation.finished_at,
        )


def _problem(slug: str, title: str, status: int, detail: str) -> Mapping[str, Any]:
    return {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}


class EvaluationsQuery(PageQuery):
    """Which evaluations."""

    collection: CollectionName | None = Field(None, description="Unset: any.")


class EvaluationsOut(PageOut[EvaluationOut]):
    """A page of evaluations."""

    unavailable: str | None = Field(description="Why none can be run here, and what to install; else null.")


class ReportOut(BaseModel):
    """Where a report can be opened."""

    url: str = Field(description="Good for two minutes, for whoever has it.", examples=["/evaluations/reports/Qm9…"])
