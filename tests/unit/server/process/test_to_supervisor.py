"""What a worker says, and its supervisor hears."""

from __future__ import annotations

import asyncio
import os
import select
from contextlib import suppress

import pytest

from server.process import to_supervisor as module
from server.process.to_supervisor import ToSupervisor, first_word


@pytest.fixture
def pipe():
    reads, writes = os.pipe()
    yield reads, ToSupervisor(writes)
    for descriptor in (reads, writes):
        os.close(descriptor)


async def test_whether_it_serves_is_said_once(pipe):
    reads, word = pipe
    word.serves()
    assert not word.fails("too late")
    assert first_word(os.read(reads, 100)) == (True, "")


def test_a_reason_is_heard_as_far_as_it_fits(pipe):
    reads, word = pipe
    assert word.fails("Schlüssel fehlt: " + "é" * 10_000)
    serves, reason = first_word(os.read(reads, 100_000))
    assert not serves
    assert reason.startswith("Schlüssel fehlt: é")
    assert len(reason.encode()) <= select.PIPE_BUF + 2


async def test_it_beats_as_long_as_its_loop_turns(pipe, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.001)
    reads, word = pipe
    word.serves()
    heard = b""
    while heard.count(b".") < 3:
        heard += await asyncio.to_thread(os.read, reads, 1)
    assert heard.startswith(b"1.")


async def test_a_supervisor_that_stands_still_holds_nothing_up(pipe, monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.0)
    _, word = pipe
    word.serves()
    os.set_blocking(word._descriptor, False)
    with suppress(BlockingIOError):
        while os.write(word._descriptor, b"x" * 4096):  # until it is full
            pass
    for _ in range(100):
        await asyncio.sleep(0)


async def test_nobody_who_listens_is_no_error(monkeypatch):
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.0)
    reads, writes = os.pipe()
    word = ToSupervisor(writes)
    word.serves()
    os.close(reads)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not ToSupervisor(writes).fails("nobody hears this")
    os.close(writes)
