"""What a run found out, as its JSON file has it; `SCHEMA_VERSION` changes where a reader has to."""

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
    """A passage that was found; `text` is its beginning."""

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
        scores: ``faithfulness`` and ``relevancy`` 0 or 1, ``correctness`` 1..5, where they could be judged.
        failures: why one could not be, by its name.

    """

    text: str
    scores: dict[str, float]
    failures: dict[str, str] = Field(default_factory=dict)


class QuestionResult(_Result):
    """What was found for a question.

    Attributes:
        expected: what is right, in words.
        metrics: by level (``passages``, ``documents``) and name.
        error: why nothing is known; it then counts in no figure.

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
    """What one engine found.

    Attributes:
        engine: its name, with the options it was asked with.
        metrics: by level and name.
        kinds: the same for each kind of question.
        no_answer: None where no question is unanswerable.
        latency_ms: as the caller waited.
        stages_ms: of that, as the engine tells.
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
    """Whether a floor was held by an engine; `value` is None where there is no such figure."""

    floor: str
    engine: str
    value: float | None
    held: bool


class GoldenFile(_Result):
    """The file that the questions are from."""

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
        EvaluationRefused: it is none, or of another version.

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
