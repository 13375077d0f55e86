"""Puts an answer together from ranked units: a few short ones, whole, the best first."""

from __future__ import annotations

from collections.abc import Sequence

from server.engines.quoting.ranking import Ranked
from server.engines.quoting.units import PRONOUN, Unit

ROOM = 600  # characters of an answer, unless its first unit is longer
MOST = 4
WORSE = 2.5  # points of score below the best
LENGTH_PRICE = 1.3  # points for 240 characters: of two units that say the same, the shorter one is better
PRICED = 600
BEFORE = 200  # characters of a sentence that is quoted with the one that needs it


def composed(ranked: Sequence[Ranked], *, readings: Sequence[Unit] = ()) -> list[Unit]:
    """Return the units to quote, the best first; those of several readings of the question before all others."""
    texts = [quoted(each.unit) for each in ranked]
    net = [each.score - LENGTH_PRICE * min(len(text), PRICED) / 240 for each, text in zip(ranked, texts, strict=True)]
    order = sorted(range(len(ranked)), key=lambda place: -net[place])
    least = max((net[place] - ranked[place].placed for place in order), default=0.0) - WORSE
    chosen = [place for place in order if ranked[place].unit in readings]
    room = ROOM - sum(len(texts[place]) for place in chosen)
    for place in order:
        if place in chosen:
            continue
        if chosen and (net[place] < least or len(chosen) == MOST):
            break
        if chosen and texts[place].endswith((":", "?")):
            continue  # it leads something in, or asks: alone it says nothing
        if not chosen or (
            len(texts[place]) <= room and not any(_holds(texts[other], texts[place]) for other in chosen)
        ):
            chosen.append(place)
            room -= len(texts[place])
    return [ranked[place].unit for place in chosen]


def quoted(unit: Unit) -> str:
    """Return a unit as an answer shows it: under its term, after the sentence that says what its pronoun means."""
    is_lonely = unit.kind in {"sentence", "item"} and PRONOUN.match(unit.shown)  # a term that is shown says what it is
    return f"{unit.before} {unit.shown}" if is_lonely and 0 < len(unit.before) < BEFORE else unit.shown


def _holds(text: str, other: str) -> bool:
    return other in text or text in other
