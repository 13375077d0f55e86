"""Days and months of budgets: where they end, and how long that is."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.limits.periods import renewal, seconds_until


@pytest.mark.parametrize(
    ("period", "day", "ends"),
    [
        ("day", date(2026, 12, 31), datetime(2027, 1, 1, tzinfo=UTC)),
        ("month", date(2026, 12, 31), datetime(2027, 1, 1, tzinfo=UTC)),
        ("day", date(2028, 2, 28), datetime(2028, 2, 29, tzinfo=UTC)),
        ("month", date(2026, 2, 1), datetime(2026, 3, 1, tzinfo=UTC)),
        ("month", date(2026, 1, 31), datetime(2026, 2, 1, tzinfo=UTC)),
        ("month", date(2028, 2, 29), datetime(2028, 3, 1, tzinfo=UTC)),
    ],
)
def test_periods_end_where_the_next_begins(period, day, ends):
    assert renewal(period, day) == ends


@given(day=st.dates(min_value=date(2000, 1, 1), max_value=date(2100, 1, 1)))
def test_a_month_ends_on_the_first_day_that_is_of_another(day):
    ends = renewal("month", day).date()
    assert ends.day == 1
    assert (ends - timedelta(days=1)).replace(day=1) == day.replace(day=1)


def test_nobody_is_told_to_come_back_at_once():
    now = datetime(2026, 11, 30, 23, 59, 59, 999_999, tzinfo=UTC)
    assert seconds_until(renewal("month", now.date()), now) == 1
    assert seconds_until(now - timedelta(hours=1), now) == 1
