"""Expressions that several panels ask for, over the time between two of a graph's points."""

from __future__ import annotations

RATE = "$__rate_interval"
HERE = 'instance=~"$instance"'


def quantile(share: float, histogram: str, *, by: str = "", where: str = HERE) -> str:
    """Return a quantile, for each value of some labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{{{where}}}[{RATE}])))"


def mean(histogram: str, *, by: str = "", where: str = HERE) -> str:
    """Return the average of what a histogram was given."""
    total, number = (rate(f"{histogram}_{end}", by=by, where=where) for end in ("sum", "count"))
    return f"{total} / ({number} > 0)"


def rate(counter: str, *, by: str = "", where: str = HERE) -> str:
    """Return how much a counter grows in a second, for each value of some labels."""
    each = f"sum by ({by}) " if by else "sum"
    return f"{each}(rate({counter}{{{where}}}[{RATE}]))"


def share(counter: str, *, of: str, by: str, where: str) -> str:
    """Return the share of some of a counter's series, picked by `of`, in all of `where`; 0 where there are none."""
    some, every = (rate(counter, by=by, where=each) for each in (f"{where}, {of}", where))
    return f"({some} or 0 * {every}) / ({every} > 0)"
