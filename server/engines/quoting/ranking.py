"""Ranks units by what a question asks: its words, its kind, its vector.

The score is a weighted sum of features, each about 0 to 1. The weights lie between some set by hand and those that
``python -m benchmarks answer_weights`` fits; see docs/answers.md for what they are worth.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from server.engines.quoting.kinds import ANSWERED, NUMBER, Kind
from server.engines.quoting.units import PRONOUN, Unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from server.engines.quoting.questions import Asked
    from server.engines.quoting.words import Words

_BY_CODE: frozenset[Kind] = frozenset({"option", "procedure"})
_BY_TERM = frozenset({"option", "procedure"})
_SAYS_DEFAULT = re.compile(
    r"\b(the )?default( \w+){0,2} (is|are)\b|\bdefaults? to\b|\bdefault:|\(the default\)|\bis the default\b"
    r"|\bwhich is the default\b|\bper default\b|\bis assumed\b|\bby default\b|\bstandardwert ist\b"
    r"|\bpar défaut\b|\bpor defecto\b",
    re.IGNORECASE,
)
_MARKS = re.compile(r"[^\w\s]|_")  # neither letters, digits nor white space
_BRACKETS = re.compile(r"[\[<|\]>]")
SYNOPSIS_BRACKETS = 3  # prose has one or two
PROSE_SHARE = 0.75  # of letters, digits and blanks
ASKS_THE_SAME = 0.7  # of a question's weight, in a heading
SHORT = 30  # characters; a unit of fewer seldom says enough
WEIGHTS = {
    "cosine": 7.9,
    "near": 2.0,
    "everywhere": 2.1,
    "paragraph": 4.2,
    "rank": 1.2,
    "short": 0.1,
    "evidence": 1.9,
    "numeric": 0.8,
    "default": 1.6,
    "pronoun": -0.4,
    "aside": -1.2,
    "leads_in": -3.5,
    "synopsis": -5.3,
    "whole": 1.3,
    "row": 1.3,
    "opens": 2.0,
    "code": -2.0,
}
EMBEDDED = 8
"""Units whose vectors are compared: words choose them, and more change nothing."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A unit and what speaks for it.

    Attributes:
        score: see `WEIGHTS`; comparable within a question only.
        coverage: share of the question's weight that the unit has, with its term, lead-in and all that stands above
            it; 0 to 1.
        cosine: of its vector to the question's.
        placed: what of the score its place alone gives it, below a heading that asks the same.

    """

    unit: Unit
    score: float
    coverage: float
    cosine: float = 0.0
    placed: float = 0.0


def embedded_text(unit: Unit) -> str:
    """Return the text that stands for a unit where vectors are compared."""
    return f"{unit.heading}: {unit.shown}"[:300]


def by_words(asked: Asked, units: Sequence[Unit], *, words: Words) -> list[Ranked]:
    """Return the units that words like best, best first, at most `EMBEDDED`.

    Questions are no answers; what stands in a table's first column is one where a list is asked for.
    """
    fit = (unit for unit in units if not unit.text.endswith("?") and (unit.kind != "column" or "list" in asked.kinds))
    scored = [_scored(asked, unit, words) for unit in fit]
    return sorted(scored, key=lambda each: -each.score)[:EMBEDDED]


def by_vectors(
    chosen: Sequence[Ranked], *, question: NDArray[np.float32], vectors: NDArray[np.float32]
) -> list[Ranked]:
    """Return them with their cosines, best first; shape of the vectors: (units, dimensions)."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(question)
    cosines = vectors @ question / np.maximum(lengths, 1e-12)
    scored = [
        replace(each, score=each.score + WEIGHTS["cosine"] * float(cosine), cosine=float(cosine))
        for each, cosine in zip(chosen, cosines, strict=True)
    ]
    return sorted(scored, key=lambda each: -each.score)


def coverage(asked: Asked, bag: frozenset[str]) -> float:
    """Return the share of the question's weight whose words are in a bag."""
    total = sum(term.weight for term in asked.terms)
    covered = (term for term in asked.terms if term.stem in bag or not term.doers.isdisjoint(bag))
    return sum(term.weight for term in covered) / total if total else 0.0


def evidence(asked: Asked, unit: Unit) -> float:
    """Return of how many of the kinds of answer that may be wanted a unit has what answers them, 0 to 1."""
    found = [bool(ANSWERED[kind].search(unit.shown if kind in _BY_TERM else unit.text)) for kind in asked.kinds]
    return sum(found) / len(found) if found else 0.5


def features(asked: Asked, unit: Unit, *, words: Words) -> dict[str, float]:
    """Return what words and form say of a unit; the cosine is added later."""
    shown = words.bag(unit.shown)
    near = shown | words.bag(unit.lead) | words.bag(unit.before)
    head = words.bag(unit.heading) | words.bag(unit.name)
    everywhere = coverage(asked, near | head)
    wants_value = bool({"number", "default"} & asked.kinds)
    return {
        "near": coverage(asked, near),
        "everywhere": everywhere,
        "paragraph": max(everywhere, coverage(asked, words.bag(unit.paragraph) | shown | head)),
        "rank": 1 / unit.number,
        "short": float(len(unit.text) < SHORT),
        "evidence": evidence(asked, unit),
        "numeric": float(wants_value and bool(NUMBER.search(unit.text))),
        "default": float(wants_value and bool(_SAYS_DEFAULT.search(unit.text))),
        "pronoun": float(bool(PRONOUN.match(unit.text))),
        "aside": float(unit.text.startswith("(")),
        "leads_in": float(unit.text.endswith((":", "?"))),
        "synopsis": float(_is_synopsis(unit)),
        "whole": float("list" in asked.kinds and unit.kind in {"list", "column"}),
        "row": float(wants_value and unit.kind == "row"),
        "opens": _opens(asked, unit, words),
        "code": float(unit.kind == "code" and not _BY_CODE & asked.kinds),
    }


def _opens(asked: Asked, unit: Unit, words: Words) -> float:
    """Return how well the heading asks the same, where a unit is the first below it and the heading has most of it."""
    share = coverage(asked, words.bag(unit.heading)) if unit.opens else 0.0
    return share if share >= ASKS_THE_SAME else 0.0


def _is_synopsis(unit: Unit) -> bool:
    """Tell whether a unit is a command's synopsis, or code that nothing sets off from prose."""
    is_one_token = len(unit.text) >= SHORT and not any(map(str.isspace, unit.text))
    if is_one_token or len(_BRACKETS.findall(unit.text)) >= SYNOPSIS_BRACKETS:
        return True
    if unit.kind not in {"sentence", "item"}:
        return False
    return len(unit.text) - len(_MARKS.findall(unit.text)) < PROSE_SHARE * len(unit.text)


def _scored(asked: Asked, unit: Unit, words: Words) -> Ranked:
    found = features(asked, unit, words=words)
    score = sum(WEIGHTS[name] * value for name, value in found.items())
    return Ranked(unit, score, found["everywhere"], placed=WEIGHTS["opens"] * found["opens"])
