"""What a question is, what an answer is, and the service that turns one into the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from storage.filters import FilterGroup

FinishReason = Literal["stop", "length", "no_context", "extractive"]


@dataclass(frozen=True, slots=True)
class Question:
    """A question and how to answer it.

    Attributes:
        k: passages given to the model.
        mode: name of an engine.
        min_score: bar for a passage's cosine similarity, 0..1; None: the settings' bar.
        temperature, max_tokens: None: the settings' values.

    """

    question: str
    collection: str = "default"
    k: int = 8
    mode: str = "hybrid"
    filters: FilterGroup | None = None
    document_ids: tuple[str, ...] | None = None
    min_score: float | None = None
    rerank: bool = False
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage given to the model.

    Attributes:
        id: the ``n`` of ``[n]`` in the answer, from 1.
        score: what the passages are ordered by, descending; its scale is the engine's.
        scores: the parts of it: ``dense`` (cosine), ``lexical``, ``fused``.
        start, end: character offsets in the document.
        cited: whether the answer points at it.

    """

    id: int
    node_id: str
    document_id: str
    source: str
    title: str
    heading: str | None
    page: int | None
    chunk_index: int
    text: str
    score: float
    scores: Mapping[str, float]
    start: int
    end: int
    metadata: Mapping[str, object]
    cited: bool = False


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that the model's provider counted."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Sources:
    """First event of a stream: the passages, before the model has said anything."""

    citations: tuple[Citation, ...]
    sources: tuple[str, ...]
    collection: str
    generation: str


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer, invented citations left out."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """Last event of a stream that went well; `citations` and `sources` now know what was cited."""

    finish_reason: FinishReason
    model: str
    usage: Usage | None
    cost_usd: float | None
    timings_ms: Mapping[str, float]
    citations: tuple[Citation, ...]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    answer: str
    collection: str
    generation: str
    done: Done


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Passages without an answer."""

    results: tuple[Citation, ...]
    collection: str
    generation: str
    timings_ms: Mapping[str, float] = field(default_factory=dict)
