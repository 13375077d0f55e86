"""Questions that fit two places equally well: a warranty of which of two products?

The places differ, what they say differs, and nothing in the question prefers one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from ingestion.chunking.context import SEPARATOR
from server.engines.quoting.kinds import NUMBER, Kind
from server.engines.quoting.languages import is_generic, telling
from server.engines.quoting.ranking import WEIGHTS, Ranked, coverage, evidence

if TYPE_CHECKING:
    from server.engines.quoting.questions import Asked
    from server.engines.quoting.units import Source, Unit
    from server.engines.quoting.words import Words

COVERED = 0.85  # of the weight of what the question is about, which each place must have
MARGIN = 1.3  # points of score by which equally good units may differ
SAME = 0.6  # of two units' own words: with more in common they say the same thing
MOST = 3
_VALUES: frozenset[Kind] = frozenset({"number", "default"})


def readings(asked: Asked, ranked: Sequence[Ranked], sources: Sequence[Source], *, words: Words) -> list[Unit]:
    """Return the best unit of each place that answers the question equally well; none where one place is better.

    A comparison asks for two places itself, and what a list names in two places adds up; of a question in another
    language the words do not tell.
    """
    about = replace(asked, terms=tuple(term for term in asked.terms if not is_generic(term.word, term.stem)))
    if asked.is_foreign or not about.terms or {"comparison", "list"} & asked.kinds or not ranked:
        return []
    best, *others = sorted(ranked, key=_strength, reverse=True)
    fit = _fit(about, best.unit, words)
    if fit.whole < COVERED or (_VALUES & asked.kinds and not fit.evidence):
        return []
    places = {source.number: source for source in sources}
    found = [best.unit]
    for each in others:
        if len(found) == MOST or _strength(each) < _strength(best) - MARGIN:
            break
        if (
            _fit(about, each.unit, words) == fit
            and all(_is_elsewhere(each.unit, other, places) for other in found)
            and all(_says_otherwise(each.unit, other, asked, words) for other in found)
        ):
            found.append(each.unit)
    return found if len(found) > 1 else []


def _strength(each: Ranked) -> float:
    """Return a unit's score without its passage's rank, which says little of two that are both among the first."""
    return each.score - WEIGHTS["rank"] / each.unit.number


class _Fit(NamedTuple):
    """How a unit fits a question: shares of it that the unit has with its surroundings, and that its headings have.

    A place that is named as the question is comes before others.
    """

    whole: float
    named: float
    evidence: float


def _fit(asked: Asked, unit: Unit, words: Words) -> _Fit:
    head = words.bag(unit.heading) | words.bag(unit.name)
    near = words.bag(unit.shown) | words.bag(unit.lead) | words.bag(unit.before)
    return _Fit(coverage(asked, near | head), coverage(asked, head), evidence(asked, unit))


def _is_elsewhere(unit: Unit, other: Unit, places: Mapping[int, Source]) -> bool:
    """Tell whether a unit stands in another document, or below another heading of the same level and name."""
    one, two = places[unit.number], places[other.number]
    if one.document != two.document:
        return True
    above, _, own = one.heading.rpartition(SEPARATOR)
    other_above, _, other_own = two.heading.rpartition(SEPARATOR)
    return own == other_own and above != other_above


def _says_otherwise(unit: Unit, other: Unit, asked: Asked, words: Words) -> bool:
    """Tell whether two units hold different values; or, where no value is asked for, hardly a word in common."""
    one, two = (frozenset(number.strip().lower() for number in NUMBER.findall(each.text)) for each in (unit, other))
    if one and two:
        return one.isdisjoint(two)
    if (_VALUES | {"definition"}) & asked.kinds:
        return False
    stems = {term.stem for term in asked.terms}
    own, others = (telling(words.bag(each.text)) - stems for each in (unit, other))
    return len(own & others) < SAME * min(len(own), len(others))
