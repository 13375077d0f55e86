"""How good rankings are: nDCG, recall and reciprocal rank of documents and of the passage that holds the answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from benchmarks.retrieval_sets import Asked
from benchmarks.retrieval_yardstick import Found
from relevance.judging import Ranking
from relevance.metrics import ranking_scores
from relevance.significance import difference

K = 10
BUDGET = 4000  # characters of passages, some thousand tokens
MEASURES = (f"ndcg@{K}", f"recall@{K}", f"mrr@{K}")
IN_BUDGET = f"answer in {BUDGET} characters"
CHARACTERS = "characters"
HOLDER = "holder"
Values = dict[str, list[float]]  # by measure, a value a question


def measured(questions: Sequence[Asked], found: Mapping[str, Sequence[Found]]) -> Values:
    """Return the measures of each question, in their order; those of passages where the answers' places are known.

    Documents count where their first passage is. The passage that holds the answer counts once.
    """
    shown = [found[asked.id][:K] for asked in questions]
    pairs = list(zip(questions, shown, strict=True))
    values = _scores(Ranking(_sources(these), dict(asked.relevant)) for asked, these in pairs)
    if all(asked.answer for asked in questions):
        passages = _scores(Ranking(_holders(asked, these), {HOLDER: 1}) for asked, these in pairs)
        values |= {f"passage {name}": each for name, each in passages.items()}
        values[IN_BUDGET] = [_in_budget(asked, these) for asked, these in pairs]
    values[CHARACTERS] = [float(sum(len(one.text) for one in these)) for these in shown]
    return values


def beside(ours: Sequence[float], yardstick: Sequence[float]) -> str:
    """Return the mean difference, and where it lies by a paired bootstrap over the questions."""
    found = difference(yardstick, ours).interval
    return f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def _scores(rankings: Iterable[Ranking]) -> Values:
    scores = ranking_scores(list(rankings), k=K)
    return {name: [one[name] for one in scores] for name in MEASURES}


def _sources(found: Sequence[Found]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one.source for one in found))


def _holders(asked: Asked, found: Sequence[Found]) -> tuple[str, ...]:
    names = [HOLDER if _holds(one, asked) else str(rank) for rank, one in enumerate(found)]
    return tuple(dict.fromkeys(names))


def _holds(one: Found, asked: Asked) -> bool:
    start, end = asked.answer or (0, 0)
    return one.source in asked.relevant and one.start <= start and end <= one.end


def _in_budget(asked: Asked, found: Sequence[Found]) -> float:
    room = BUDGET
    for one in found:
        room -= len(one.text)
        if room < 0:
            break
        if _holds(one, asked):
            return 1.0
    return 0.0
