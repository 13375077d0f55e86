"""Days and months of budgets, in UTC."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta

from storage.access.spending import Period

Clock = Callable[[], datetime]
LONGEST_MONTH = timedelta(days=31)


def utc_now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


def renewal(period: Period, day: date) -> datetime:
    """Return when the period ends in which a day lies, and its budget begins anew."""
    ends = day + timedelta(days=1) if period == "day" else (day.replace(day=1) + LONGEST_MONTH + timedelta(days=1))
    return datetime.combine(ends if period == "day" else ends.replace(day=1), time(), tzinfo=UTC)


def seconds_until(moment: datetime, now: datetime) -> float:
    """Return how long it is to a moment, a second at the least."""
    return max(1.0, (moment - now).total_seconds())
