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
     "2026-01-01T23:00:00." + "1" * MAX_LENGTH + "Z"],
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
