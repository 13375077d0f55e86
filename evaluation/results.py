"""The results of a run, as in its JSON file; `SCHEMA_VERSION` changes with incompatible changes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.errors import EvaluationRefused

SCHEMA_VERSION: Literal[1] = 1
FAITHFULNESS, RELEVANCY, CORRECTNESS = JUDGED = ("faithfulness", "relevancy", "correctness")


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Result):
    """A mean over questions and its 95 % interval."""

    mean: float
    low: float
    high: float
    questions: int


class Percentiles(_Result):
    """Of a duration, in milliseconds."""

    p50: float
    p95: float


class PassageResult(_Result):
    """A passage found; `text` is its beginning."""

    document_id: str
    source: str
    start: int
    end: int
    score: float
    right: bool
    text: str


class AnswerResult(_Result):
    """An answer and what LlamaIndex's evaluators say of it.

    Attributes:
        scores: ``faithfulness`` and ``relevancy`` 0 or 1, ``correctness`` 1..5, as far as they could be judged.
        failures: why a score is missing, by its name.

    """

    text: str
    scores: dict[str, float]
    failures: dict[str, str] = Field(default_factory=dict)


class QuestionResult(_Result):
    """The result of a question.

    Attributes:
        expected: a description of what is right.
        metrics: by level (``passages``, ``documents``) and name.
        error: why there is no result; the question then counts in no metric.

    """

    id: str
    question: str
    kind: str
    unanswerable: bool
    expected: list[str]
    metrics: dict[str, dict[str, float]]
    latency_ms: float
    timings_ms: dict[str, float]
    found: list[PassageResult]
    error: str | None = None
    answer: AnswerResult | None = None


class NoAnswerResult(_Result):
    """See `relevance.metrics.NoAnswers`."""

    unanswerable: int
    refused: int
    rightly: int
    rate: float | None
    precision: float | None


class EngineResult(_Result):
    """The results of one engine.

    Attributes:
        engine: its name, with its options.
        metrics: by level and name.
        kinds: the same, per kind of question.
        no_answer: None if no question is unanswerable.
        latency_ms: as measured by the caller.
        stages_ms: of that, as reported by the engine.
        judged: means of the evaluators' scores.

    """

    engine: str
    generation: str
    metrics: dict[str, dict[str, Figure]]
    kinds: dict[str, dict[str, dict[str, Figure]]]
    no_answer: NoAnswerResult | None
    latency_ms: Percentiles
    stages_ms: dict[str, Percentiles]
    judged: dict[str, Figure]
    failed: int
    questions: list[QuestionResult]


class FloorResult(_Result):
    """Whether an engine reached a floor; `value` is None if there is no such metric."""

    floor: str
    engine: str
    value: float | None
    held: bool


class GoldenFile(_Result):
    """The file of the questions."""

    name: str
    sha256: str
    questions: int
    skipped: int


class RunResult(_Result):
    """A run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    footnote: str
    created_at: str
    golden: GoldenFile
    collection: str
    k: int
    asked: str
    judge: str | None = None
    settings: list[str]
    engines: list[EngineResult]
    floors: list[FloorResult] = Field(default_factory=list)


def read_result(path: Path) -> RunResult:
    """Read a run from its JSON file.

    Raises:
        EvaluationRefused: it is not a run, or of another version.

    """
    try:
        text = path.read_bytes()
    except OSError as exc:
        msg = f"{path}: it cannot be read ({exc.strerror or type(exc).__name__})"
        raise EvaluationRefused(msg) from exc
    try:
        return RunResult.model_validate_json(text)
    except ValidationError as exc:
        place = ".".join(str(part) for part in exc.errors(include_input=False, include_url=False)[0]["loc"])
        at = f" (at {place})" if place else ""
        msg = f"{path}: it is no result of `python -m evaluation run --json`, version {SCHEMA_VERSION}{at}"
        raise EvaluationRefused(msg) from None


def write_text(path: Path, text: str) -> None:
    """Write a file.

    Raises:
        EvaluationRefused: it cannot be written.

    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as exc:
        msg = f"{path}: it cannot be written ({exc.strerror or type(exc).__name__})"
        raise EvaluationRefused(msg) from exc
