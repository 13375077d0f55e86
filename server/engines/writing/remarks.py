"""Remarks on how a question and its passages fit: that it fits several places, that no passage mentions a thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from server.engines.writing.prompts import label_of

if TYPE_CHECKING:
    from server.engines.quoting.finding import Finder
    from server.engines.quoting.units import Unit

AMBIGUOUS = "The question fits "
UNMENTIONED = "No passage mentions "
_COUNTS = {2: "two", 3: "three"}


async def remarks_of(finder: Finder) -> list[str]:
    """Return the remarks on one question's passages, a sentence each; none of small talk.

    Raises:
        StoreUnavailable: the database cannot be reached.

    """
    if finder.is_small_talk:
        return []
    found = sorted(await finder.readings(), key=lambda unit: unit.number)
    places = [(unit.number, _place_of(unit, finder.metadata_of(unit.number))) for unit in found]
    missing = await finder.unmentioned()
    return [*([ambiguous(places)] if places else []), *([unmentioned(missing)] if missing else [])]


def ambiguous(places: Sequence[tuple[int, str]]) -> str:
    """Return the sentence on the places, with their passages' numbers, that a question fits equally well."""
    named = _listed([f"“{name}” [{number}]" if name else f"passage [{number}]" for number, name in places], "and")
    return f"{AMBIGUOUS}{_COUNTS.get(len(places), 'several')} places equally well: {named}."


def unmentioned(words: Sequence[str]) -> str:
    """Return the sentence on what no passage mentions."""
    return f"{UNMENTIONED}{_listed([f'“{word}”' for word in words], 'or')}."


def _place_of(unit: Unit, place: Mapping[str, Any]) -> str:
    """Return the place of a unit: its passage's, and the heading above it if that is another one."""
    heading = str(place.get("heading") or "")
    is_deeper = unit.heading and unit.heading != heading.rpartition(" > ")[2].rstrip(" ¶")
    below = " > ".join(filter(None, (heading, unit.heading))) if is_deeper else heading
    return label_of({**place, "heading": below}) or str(place.get("source") or "")


def _listed(names: Sequence[str], word: str) -> str:
    *before, last = names
    return f"{', '.join(before)} {word} {last}" if before else last
