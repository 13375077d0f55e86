"""Judging answers with LlamaIndex's evaluators and the configured model."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from config.errors import FootnoteError
from evaluation.asking import Asks, Variant, request_body
from evaluation.errors import QuestionFailed
from evaluation.results import CORRECTNESS, FAITHFULNESS, RELEVANCY, AnswerResult, QuestionResult
from server.engines.models.guarded import GuardedLLM

if TYPE_CHECKING:
    from evaluation.experiment import Experiment
    from relevance.golden import GoldenQuestion
    from server.engines.models.model import LanguageModel

AT_ONCE = 4
_SCORE = re.compile(r"\s*\W*(?:score\W*)?([1-5](?:\.\d+)?)\b", re.IGNORECASE)


class Judges:
    """Gets answers and judges them.

    - faithfulness: 1 if the passages support the answer, else 0;
    - relevancy: 1 if answer and passages fit the question, else 0;
    - correctness: 1..5, against the reference answer, if there is one.
    """

    def __init__(self, model: LanguageModel) -> None:
        from llama_index.core.evaluation import CorrectnessEvaluator, FaithfulnessEvaluator, RelevancyEvaluator

        llm = GuardedLLM(model)
        self._evaluators: dict[str, Any] = {
            FAITHFULNESS: FaithfulnessEvaluator(llm=llm),
            RELEVANCY: RelevancyEvaluator(llm=llm),
            # LlamaIndex's own parser fails on one-line answers
            CORRECTNESS: CorrectnessEvaluator(llm=llm, parser_function=parse_score),
        }
        self._room = asyncio.Semaphore(AT_ONCE)

    async def judged(
        self, questions: Sequence[QuestionResult], *, experiment: Experiment, variant: Variant, asks: Asks
    ) -> list[QuestionResult]:
        """Return the results with judged answers; failed questions, and those without passages, have none."""

        async def one(result: QuestionResult, golden: GoldenQuestion) -> QuestionResult:
            if result.error is not None or not result.found:
                return result
            async with self._room:
                return result.model_copy(update={"answer": await self._answered(golden, experiment, variant, asks)})

        return list(await asyncio.gather(*map(one, questions, experiment.golden)))

    async def _answered(
        self, golden: GoldenQuestion, experiment: Experiment, variant: Variant, asks: Asks
    ) -> AnswerResult:
        body = request_body(golden, collection=experiment.collection, k=experiment.k, variant=variant)
        try:
            written = await asks.answer(body)
        except QuestionFailed as exc:
            return AnswerResult(text="", scores={}, failures={"answer": str(exc)})
        scores: dict[str, float] = {}
        failures: dict[str, str] = {}
        for name, evaluator in self._evaluators.items():
            if name == CORRECTNESS and (golden.reference is None or golden.unanswerable):
                continue
            given = {"reference": golden.reference} if name == CORRECTNESS else {"contexts": written.contexts}
            try:
                verdict = await evaluator.aevaluate(query=golden.question, response=written.text, **given)
            except FootnoteError as exc:
                failures[name] = str(exc)
                continue
            if verdict.score is None:
                failures[name] = "the model gave no score"
            else:
                scores[name] = float(verdict.score)
        return AnswerResult(text=written.text, scores=scores, failures=failures)


def parse_score(reply: str) -> tuple[float | None, str | None]:
    """Return the score at the beginning of an evaluator's reply, 1..5, and the rest; None if there is none."""
    found = _SCORE.match(reply)
    if found is None or float(found[1]) > 5:  # noqa: PLR2004 (the scale of LlamaIndex's prompt)
        return None, reply.strip() or None
    return float(found[1]), reply[found.end() :].strip() or None
