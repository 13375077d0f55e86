"""Ending a text at the texts that stop it, in whatever pieces it comes."""

import pytest
from support.written import written

from server.engines.record import Record
from server.engines.writing.stopping import before_stop, until_stop


async def read(text, size, *stops):
    record = Record()
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    return "".join([piece async for piece in until_stop(written(*pieces, record=record), stops, record=record)])


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize(
    ("text", "stops", "read_of_it"),
    [
        ("Fuel is here. END more", ["END"], "Fuel is here. "),
        ("Fuel is here.\n\nMore", ["END", "\n\n"], "Fuel is here."),
        ("ENENEND more", ["END"], "ENEN"),
        ("Fuel EN", ["END"], "Fuel EN"),
        ("Fuel is here.", [], "Fuel is here."),
        ("END", ["END"], ""),
    ],
)
async def test_a_text_ends_before_the_first_of_them(size, text, stops, read_of_it):
    assert await read(text, size, *stops) == read_of_it
    assert before_stop(text, stops) == read_of_it


async def test_only_what_may_begin_one_is_held_back():
    record = Record()
    pieces = [piece async for piece in until_stop(written("Fuel ", "E", "very", record=record), ["END"], record=record)]
    assert pieces == ["Fuel ", "", "Every"]
