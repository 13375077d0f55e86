"""Ranking metrics, by ``trec_eval``'s own code (pytrec_eval, Van Gysel and de Rijke, SIGIR 2018) through ir_measures.

- nDCG@k: gains divided by log2(rank + 1), over the best that could be (Järvelin and Kekäläinen, TOIS 20(4), 2002);
  gains are the grades themselves, as in ``trec_eval``'s ``ndcg_cut``.
- recall@k: share of what is right that is among the first k (Manning, Raghavan and Schütze, Introduction to
  Information Retrieval, 8.3).
- MRR@k: mean of 1 / rank of the first right one, 0 where it is not among the first k (Voorhees, TREC-8, 1999).
- hit@k: share of questions with something right among the first k; ``trec_eval``'s ``success``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relevance.judging import Ranking

Scores = Mapping[str, float]


def metric_names(k: int) -> tuple[str, ...]:
    """Return the names of the metrics, the main one first."""
    return tuple(dict.fromkeys((f"ndcg@{k}", f"recall@{k}", f"mrr@{k}", f"hit@{k}", "hit@1")))


def ranking_scores(rankings: Sequence[Ranking], *, k: int) -> list[Scores]:
    """Return the metrics of each ranking by name, 0..1; only the first `k` of a ranking count."""
    import ir_measures
    from ir_measures import RR, R, Success, nDCG

    measures = {nDCG @ k: f"ndcg@{k}", R @ k: f"recall@{k}", RR: f"mrr@{k}", Success @ k: f"hit@{k}"}
    if k != 1:
        measures[Success @ 1] = "hit@1"
    right: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for number, ranking in enumerate(rankings):
        # our own names: theirs may be anything, and ties are broken by name
        ids = {name: f"r{place}" for place, name in enumerate(ranking.grades)}
        right[str(number)] = {ids[name]: grade for name, grade in ranking.grades.items()}
        run[str(number)] = {ids.get(name, f"f{rank}"): -float(rank) for rank, name in enumerate(ranking.found[:k])}
    scores: list[dict[str, float]] = [dict.fromkeys(measures.values(), 0.0) for _ in rankings]
    for value in ir_measures.pytrec_eval.evaluator(list(measures), right).iter_calc(run):
        scores[int(value.query_id)][measures[value.measure]] = float(value.value)
    return list(scores)


def mean(values: Sequence[float]) -> float:
    """Return the mean; 0 if there are no values."""
    return sum(values) / len(values) if values else 0.0


@dataclass(frozen=True, slots=True)
class NoAnswers:
    """How well unanswerable questions were recognised.

    Attributes:
        unanswerable: number of unanswerable questions.
        refused: number of questions for which nothing was returned.
        rightly: number of unanswerable ones among those.

    """

    unanswerable: int
    refused: int
    rightly: int

    @property
    def rate(self) -> float | None:
        """Fraction of the unanswerable questions for which nothing was returned; None if there are none."""
        return self.rightly / self.unanswerable if self.unanswerable else None

    @property
    def precision(self) -> float | None:
        """Fraction of the refused questions that are unanswerable; None if none was refused."""
        return self.rightly / self.refused if self.refused else None


def no_answers(judged: Sequence[tuple[bool, bool]]) -> NoAnswers:
    """Count pairs (is unanswerable, was refused)."""
    return NoAnswers(
        unanswerable=sum(unanswerable for unanswerable, _ in judged),
        refused=sum(refused for _, refused in judged),
        rightly=sum(unanswerable and refused for unanswerable, refused in judged),
    )
