"""What a worker says first, and its supervisor hears."""

from __future__ import annotations

import os
import select

import pytest

from server.process.first_word import FirstWord, heard


@pytest.fixture
def pipe():
    reads, writes = os.pipe()
    yield reads, FirstWord(writes)
    os.close(reads)


def test_only_the_first_word_is_heard(pipe):
    reads, word = pipe
    word.serves()
    assert not word.fails("too late")
    assert heard(reads) == (True, "")
    assert heard(reads) == (False, "")  # nothing more comes


def test_a_reason_is_heard_as_far_as_it_fits(pipe):
    reads, word = pipe
    assert word.fails("Schlüssel fehlt: " + "é" * 10_000)
    serves, reason = heard(reads)
    assert not serves
    assert reason.startswith("Schlüssel fehlt: é")
    assert len(reason.encode()) <= select.PIPE_BUF + 2


def test_nobody_who_listens_is_no_error():
    reads, writes = os.pipe()
    os.close(reads)
    assert not FirstWord(writes).fails("nobody hears this")
