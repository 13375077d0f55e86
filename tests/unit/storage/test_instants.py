"""Timestamps with an offset are instants; nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.instants import MAX_LENGTH, spellings, utc, with_utc


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("2026-01-02T08:00:00+09:00", "2026-01-01T23:00:00+00:00"),
        ("2026-01-01T23:00:00Z", "2026-01-01T23:00:00+00:00"),
        ("2026-01-01 23:00z", "2026-01-01T23:00:00+00:00"),
        ("2026-01-01t18:30:00.5-0430", "2026-01-01T23:00:00.500000+00:00"),
        ("2026-01-01T23:00:00.123456789+00:00", "2026-01-01T23:00:00.123456+00:00"),
        ("2026-01-02 08:00:00+09", "2026-01-01T23:00:00+00:00"),  # PostgreSQL
        ("2026-01-02 08:00:00.25+05:30", "2026-01-02T02:30:00.250000+00:00"),
        ("2026-01-02 08:00:00 +0900", "2026-01-01T23:00:00+00:00"),  # git
        ("2026-01-02T08:00:00+09", "2026-01-01T23:00:00+00:00"),
        ("20260102T080000+0900", "2026-01-01T23:00:00+00:00"),
        ("20260101T2300Z", "2026-01-01T23:00:00+00:00"),
        ("20260102 080000 +09", "2026-01-01T23:00:00+00:00"),
        ("2026-01-02T08+09", "2026-01-01T23:00:00+00:00"),
        ("2026-01-02T08:00:00,5+09:00", "2026-01-01T23:00:00.500000+00:00"),
        ("2026-W01-5T08:00:00+09:00", "2026-01-01T23:00:00+00:00"),
        ("2026w015t080000z", "2026-01-02T08:00:00+00:00"),
    ],
)
def test_a_timestamp_with_an_offset_is_stored_in_utc(given, stored):
    assert utc(given) == stored == utc(stored)
    assert spellings(given) == [stored, given]
    assert with_utc({"a": [given, {"b": given}], "n": 1, "z": None}) == {
        "a": [stored, {"b": stored}],
        "n": 1,
        "z": None,
    }


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-02", "2026-01-02T08:00:00", "08:00+09:00", "2026-02-31T00:00:00Z", "2026-01-01T24:01:00Z",
     "0001-01-01T00:00:00+09:00", "9999-12-31T23:59:59-01:00", " 2026-01-01T23:00:00Z", "2026-01-01T23:00:00Z\n",
     "on 2026-01-01T23:00:00Z", "2026-01-01T23:00:60Z", "\u0662026-01-01T23:00:00Z", "2026-01-01T23:00:00+99:99",
     "2026-01-01T23:00:00." + "1" * MAX_LENGTH + "Z", "20260102T080000", "2026-W01-5", "2026-W01-5T08:00", "20260102",
     "20260102080000+0900", "20260102-0800-05", "2026-01-02-08-05", "2026-01-02 08-17", "2026-01-02 +09", "2026-01-02Z",
     "2026-01-02 08:00:00  +0900", "2026-01-02  08:00:00+09", "2026-01-02x08:00:00+09:00", "2026-01-02T08-05-30",
     "1.2.3-2026", "1.0.0+20130313144700", "1e5", "-0.0", "+4930123456", "2026-53", "2026-W54-1T08:00Z",
     "2026-01-02T08:00:00\u00a0+09:00", "2026-01-02T08:00:00+0\uff19:00", "2026-01-02T08:00:00 UTC"],
)  # fmt: skip
def test_what_names_no_instant_stays_as_it_is(text):
    assert utc(text) == text
    assert spellings(text) == [text]


AWARE = st.datetimes(timezones=st.timezones(), allow_imaginary=False)


@given(AWARE, AWARE)
def test_the_text_of_two_instants_compares_as_they_do(one, other):
    first, second = utc(one.isoformat()), utc(other.isoformat())
    if first.endswith("+00:00") and second.endswith("+00:00"):  # old zones have offsets of odd seconds
        assert (first < second, first == second) == (one < other, one == other)
