"""The log of a stream, against a model in plain Python."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.soak import examples

from server.streams.log import FramesForgotten, StreamLog


def frame(number: int) -> bytes:
    return b"<%d>" % number


@settings(max_examples=examples(100), deadline=None)
@given(
    steps=st.lists(
        st.one_of(
            st.just(("write",)),
            st.tuples(st.just("join"), st.integers(0, 40)),
            st.tuples(st.sampled_from(["read", "leave"]), st.integers(0, 5)),
        ),
        max_size=80,
    )
)
def test_every_reader_sees_each_frame_once_and_in_order_whoever_comes_and_goes(steps: list[tuple]) -> None:
    async def play() -> None:
        log = StreamLog(window_bytes=1024, max_bytes=65_536)
        written = 0
        readers: list[list] = []
        for step in steps:
            if step[0] == "write":
                written += 1
                log.append(frame(written))
            elif step[0] == "join":
                after = min(step[1], written)
                lent = log.reading(after=after, silence=0.001)
                readers.append([lent, lent.__enter__(), b"", after])
            elif step[1] < len(readers):
                lent, reader, seen, after = readers[step[1]]
                if step[0] == "leave":
                    lent.__exit__(None, None, None)
                    del readers[step[1]]
                else:
                    readers[step[1]][2] = seen + (await reader.take() or b"")
                    reader.done()
        log.append(frame(written + 1), last=True)
        for _, reader, seen, after in readers:
            whole = seen
            while (taken := await reader.take()) is not None:
                whole += taken
            assert whole == b"".join(frame(n) for n in range(after + 1, written + 2))

    asyncio.run(play())


async def test_the_writer_waits_for_the_fastest_reader_and_not_for_the_slowest() -> None:
    log = StreamLog(window_bytes=1024, max_bytes=65_536)
    with log.reading(after=0, silence=1) as fast, log.reading(after=0, silence=1):
        log.append(b"x" * 1024)
        assert not log.has_room
        waiting = asyncio.ensure_future(log.room())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await fast.take()
        assert not log.has_room  # taken is not yet with the client
        fast.done()
        await asyncio.wait_for(waiting, 1)


async def test_without_a_reader_the_writer_fills_what_is_kept_and_loses_nothing() -> None:
    log = StreamLog(window_bytes=1024, max_bytes=4096)
    written = 0
    while log.has_room:
        written += 1
        log.append(b"%04d" % written * 25)
    assert written == 41
    with log.reading(after=0, silence=1) as reader:
        assert (await reader.take() or b"").startswith(b"0001")


async def test_what_readers_have_had_is_forgotten_when_it_is_too_much_and_late_ones_are_told() -> None:
    log = StreamLog(window_bytes=1024, max_bytes=4096)
    with log.reading(after=0, silence=1) as reader:
        for _ in range(100):
            log.append(b"x" * 100)
            await reader.take()
            reader.done()
    assert log.kept_bytes <= 4096
    assert not log.keeps(1)
    with log.reading(after=0, silence=1) as late, pytest.raises(FramesForgotten):
        await late.take()


async def test_silence_is_told_and_the_end_is_told_again_and_again() -> None:
    log = StreamLog(window_bytes=1024, max_bytes=4096)
    with log.reading(after=0, silence=0.01) as reader:
        assert await reader.take() == b""
        log.append(b"end", last=True)
        assert [await reader.take(), await reader.take(), await reader.take()] == [b"end", None, None]


async def test_a_writer_is_woken_when_its_only_reader_leaves() -> None:
    log = StreamLog(window_bytes=1024, max_bytes=65_536)
    with log.reading(after=0, silence=1):
        log.append(b"x" * 2000)
        waiting = asyncio.ensure_future(log.room())
        await asyncio.sleep(0)
    await asyncio.wait_for(waiting, 1)
