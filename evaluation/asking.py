"""Asking golden questions: the services of this process, or a running server over HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from config.errors import FootnoteError
from evaluation.errors import EvaluationRefused, QuestionFailed
from relevance.judging import FoundPassage
from server.answers import Citation
from server.api.schemas.questions import QuestionBody

if TYPE_CHECKING:
    from relevance.golden import GoldenQuestion
    from server.services.answers import AnswerService

MAX_SECONDS = 300.0  # for one question over HTTP


@dataclass(frozen=True, slots=True)
class Variant:
    """An engine with further options of a request, to be compared with another."""

    name: str
    mode: str
    options: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """The passages found for a question.

    Attributes:
        scores: of the passages, in order.
        latency_ms: as measured by the caller.
        timings_ms: of the stages, as reported by the engine.

    """

    passages: tuple[FoundPassage, ...]
    scores: tuple[float, ...]
    generation: str
    latency_ms: float
    timings_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Written:
    """An answer, and the texts of the passages that it was written from."""

    text: str
    contexts: tuple[str, ...]


class Asks(Protocol):
    """Asks questions. Every method raises `QuestionFailed` if a question gets no result."""

    async def retrieve(self, body: QuestionBody) -> Found:
        """Retrieve passages."""

    async def answer(self, body: QuestionBody) -> Written:
        """Get an answer."""


def request_body(golden: GoldenQuestion, *, collection: str, k: int, variant: Variant) -> QuestionBody:
    """Return a question as the API takes it.

    Raises:
        EvaluationRefused: the API would refuse it.

    """
    members = {
        "question": golden.question,
        "collection": collection,
        "k": k,
        "mode": variant.mode,
        "filters": golden.filters,
        **variant.options,
    }
    try:
        return QuestionBody.model_validate(members)
    except ValidationError as exc:
        first = exc.errors(include_input=False, include_url=False)[0]
        field_name = ".".join(str(part) for part in first["loc"])
        where = f"line {golden.line}, " if field_name.startswith(("question", "filters")) else ""
        msg = f"{where}{field_name}: {first['msg'].removeprefix('Value error, ')}"
        raise EvaluationRefused(msg) from None


class ServiceAsks:
    """Asks the services of this process."""

    def __init__(self, answers: AnswerService) -> None:
        self._answers = answers

    async def retrieve(self, body: QuestionBody) -> Found:
        """See `Asks`."""
        started = time.perf_counter()
        try:
            retrieved = await self._answers.retrieve(body.to_question())
        except FootnoteError as exc:
            raise QuestionFailed(str(exc)) from exc
        latency = (time.perf_counter() - started) * 1000
        results = retrieved.results
        return Found(
            tuple(_passage(each) for each in results),
            tuple(each.score for each in results),
            generation=retrieved.generation,
            latency_ms=latency,
            timings_ms=dict(retrieved.timings_ms),
        )

    async def answer(self, body: QuestionBody) -> Written:
        """See `Asks`."""
        try:
            answer = await self._answers.ask(body.to_question())
        except FootnoteError as exc:
            raise QuestionFailed(str(exc)) from exc
        return Written(answer.answer, tuple(each.text for each in answer.done.citations))


class ServerAsks:
    """Asks a running server."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 (httpx is loaded where a server is asked)
        self._client = client

    async def retrieve(self, body: QuestionBody) -> Found:
        """See `Asks`."""
        started = time.perf_counter()
        told = await self._post("/retrieve", body)
        latency = (time.perf_counter() - started) * 1000
        results: Sequence[Mapping[str, Any]] = told["results"]
        return Found(
            tuple(_told_passage(each) for each in results),
            tuple(float(each["score"]) for each in results),
            generation=str(told["generation"]),
            latency_ms=latency,
            timings_ms=dict(told["timings_ms"]),
        )

    async def answer(self, body: QuestionBody) -> Written:
        """See `Asks`."""
        told = await self._post("/query", body)
        return Written(str(told["answer"]), tuple(str(each["text"]) for each in told["citations"]))

    async def _post(self, path: str, body: QuestionBody) -> dict[str, Any]:
        import httpx

        try:
            response = await self._client.post(path, json=body.model_dump(mode="json", exclude_unset=True))
            told = response.json()
        except httpx.HTTPError as exc:
            msg = f"{self._client.base_url} does not answer ({type(exc).__name__})"
            raise QuestionFailed(msg) from exc
        except ValueError as exc:
            msg = f"{self._client.base_url} is no Footnote: it answers {path} with something else than JSON"
            raise QuestionFailed(msg) from exc
        if response.status_code != httpx.codes.OK:
            detail = told.get("detail") if isinstance(told, dict) else None
            msg = f"the server answers {response.status_code}: {detail or 'nothing more'}"
            raise QuestionFailed(msg)
        return dict(told)


@asynccontextmanager
async def open_server(url: str) -> AsyncIterator[ServerAsks]:
    """Open a client of a running server.

    Raises:
        EvaluationRefused: the URL is invalid.

    """
    import httpx

    address = httpx.URL(url)
    if address.scheme not in {"http", "https"} or not address.host:
        msg = "--url: an address such as http://127.0.0.1:8000 is wanted"
        raise EvaluationRefused(msg)
    async with httpx.AsyncClient(base_url=address, timeout=MAX_SECONDS) as client:
        yield ServerAsks(client)


def _passage(citation: Citation) -> FoundPassage:
    return FoundPassage(citation.document_id, citation.source, citation.start, citation.end, citation.text)


def _told_passage(told: Mapping[str, Any]) -> FoundPassage:
    document_id, source, text = (str(told[name]) for name in ("document_id", "source", "text"))
    return FoundPassage(document_id, source, int(told["start"]), int(told["end"]), text)
