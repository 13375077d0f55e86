"""The reader of a model's server-sent events, beside what the specification says of lines."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.engines.models.event_data import EventData

STREAM = 'data: {"a": "é"}\n\n: a comment\ndata:no space\nevent: token\nid: 7\n\ndata: one\ndata:  two\n\n\n\ndata\n\n'
EVENTS = ['{"a": "é"}', "no space", "one\n two", ""]


@given(cuts=st.lists(st.integers(0, len(STREAM.encode()) + 20), max_size=12), end=st.sampled_from(["\n", "\r\n", "\r"]))
def test_events_are_the_same_however_the_bytes_are_cut_and_whatever_ends_a_line(cuts: list[int], end: str) -> None:
    stream, reader = STREAM.replace("\n", end).encode(), EventData()
    edges = [0, *sorted(cuts), len(stream)]
    pieces = [stream[begin:stop] for begin, stop in pairwise(edges)]
    assert [data for piece in pieces for data in reader.feed(piece)] == EVENTS


def test_a_line_end_of_two_bytes_counts_once_though_nothing_comes_between_them() -> None:
    reader = EventData()
    pieces = [b"data: one\r", b"", b"\n", b"data: two\r", b"\n", b"\r", b"\n"]
    assert [data for piece in pieces for data in reader.feed(piece)] == ["one\ntwo"]


def test_an_event_that_has_not_ended_is_not_given() -> None:
    assert list(EventData().feed(b"data: half")) == []
    assert list(EventData().feed(b"data: half\n")) == []


def test_what_is_no_utf8_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        list(EventData().feed(b"data: \xff\n\n"))
