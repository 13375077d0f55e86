"""How hard tests try: ``make test`` a little, so that it takes minutes; ``make soak``, at night, much."""

from __future__ import annotations

from hypothesis import settings

SOAK = settings.get_current_profile_name() == "soak"
"""Whether this run is a soak."""


def examples(few: int, many: int | None = None) -> int:
    """Return how many examples a property is tried on; in a soak 20 times as many, unless told."""
    return (many or 20 * few) if SOAK else few
