"""Streams across processes, over a real Redis: two relays in one loop, or a child process where one must die."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from structlog.testing import capture_logs
from support.redis_server import RedisServer, start_redis
from support.soak import examples

from config.settings import RedisSettings, SettingsError, StreamSettings
from server.redis_link import open_redis_link
from server.streams import redis_mirrors, redis_outbox
from server.streams.log import FramesForgotten, StreamLog
from server.streams.redis_mirrors import Mirror
from server.streams.redis_relay import RedisRelay, open_redis_relay

ROOT = Path(__file__).parents[4]
PATIENCE = 15.0
MAX_BYTES = 65_536
CHILD = """
import asyncio, sys
from config.settings import RedisSettings, StreamSettings
from server.redis_link import open_redis_link
from server.streams import redis_outbox
from server.streams.redis_relay import open_redis_relay
redis_outbox.OWNER_SECONDS, redis_outbox.BEAT_SECONDS = 0.5, 0.1

async def main():
    async with open_redis_link(RedisSettings(url=sys.argv[1])) as link:
        async with open_redis_relay(link, settings=StreamSettings()) as relay:
            for number in range(1, 100_000):
                relay.publish("s", number, b"<%d>" % number, last=False)
                print(number, flush=True)
                await asyncio.sleep(0.01)

asyncio.run(main())
"""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with start_redis() as server:
        yield server


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everything that takes seconds take tenths."""
    monkeypatch.setattr(redis_outbox, "OWNER_SECONDS", 0.5)
    monkeypatch.setattr(redis_outbox, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(redis_outbox, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(redis_mirrors, "WATCH_SECONDS", 0.1)
    monkeypatch.setattr(redis_mirrors, "READER_SECONDS", 0.5)
    monkeypatch.setattr(redis_mirrors, "IDLE_SECONDS", 0.3)
    monkeypatch.setattr(redis_mirrors, "OUTAGE_SECONDS", 0.5)
    monkeypatch.setattr(redis_mirrors, "TRUST_SECONDS", 0.5)
    monkeypatch.setattr(redis_mirrors, "RETRY_SECONDS", 0.05)


@pytest.fixture
async def relays(redis: RedisServer) -> AsyncIterator[tuple[RedisRelay, RedisRelay]]:
    """Open two relays, as two processes would: the writer's and the reader's."""
    async with relay_at(redis.url) as owner, relay_at(redis.url) as other:
        yield owner, other


@contextlib.asynccontextmanager
async def relay_at(url: str) -> AsyncIterator[RedisRelay]:
    async with open_redis_link(RedisSettings.model_validate({"url": url})) as link:
        assert link is not None
        async with open_redis_relay(link, settings=StreamSettings(), max_bytes=MAX_BYTES, window_bytes=8192) as relay:
            yield relay


def frame(number: int) -> bytes:
    return b"<%d>" % number


def lost(number: int) -> bytes:
    return b"<lost %d>" % number


def frames(first: int, last: int) -> bytes:
    return b"".join(frame(number) for number in range(first, last + 1))


def publish(relay: RedisRelay, first: int, last: int, *, ends: bool = False, stream_id: str = "s") -> None:
    for number in range(first, last + 1):
        relay.publish(stream_id, number, frame(number), last=ends and number == last)


async def eventually(look: Callable[[], object]) -> None:
    """Wait until `look` (plain or async) sees it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            seen = look()
            if asyncio.iscoroutine(seen):
                seen = await seen
            if seen:
                return
            await asyncio.sleep(0.01)


async def found(relay: RedisRelay, stream_id: str = "s") -> StreamLog:
    logs: list[StreamLog] = []

    async def look() -> bool:
        log = await relay.find(stream_id, lost=lost)
        if log is not None:
            logs.append(log)
        return log is not None

    await eventually(look)
    return logs[0]


async def read(log: StreamLog, *, after: int = 0) -> bytes:
    """Read a log to its end."""
    pieces = []
    async with asyncio.timeout(PATIENCE):
        with log.reading(after=after, silence=PATIENCE) as reader:
            while (piece := await reader.take()) is not None:
                pieces.append(piece)
                reader.done()
    return b"".join(pieces)


async def written(redis: RedisServer, stream_id: str = "s") -> int:
    """Return the number of the newest frame that Redis has."""
    async with Redis.from_url(redis.url) as client:
        newest = await client.xrevrange(f"footnote:stream:{stream_id}", count=1)
    return int(newest[0][0].partition(b"-")[0]) if newest else 0


async def test_a_stream_is_followed_while_it_is_written_elsewhere(relays) -> None:
    owner, other = relays
    publish(owner, 1, 1)
    reading = asyncio.create_task(read(await found(other)))
    for number in range(2, 101):
        publish(owner, number, number, ends=number == 100)
        await asyncio.sleep(0.003)
    assert await reading == frames(1, 100)


async def test_a_stream_is_taken_up_in_the_middle(relays) -> None:
    owner, other = relays
    publish(owner, 1, 10)
    reading = asyncio.create_task(read(await found(other), after=7))
    publish(owner, 11, 20, ends=True)
    assert await reading == frames(8, 20)


async def test_a_reader_ahead_of_what_redis_has_gets_what_follows(relays) -> None:
    owner, other = relays
    publish(owner, 1, 3)
    reading = asyncio.create_task(read(await found(other), after=5))
    await asyncio.sleep(0.05)
    publish(owner, 4, 8, ends=True)
    assert await reading == frames(6, 8)


async def test_a_stream_that_has_ended_is_found_whole(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 700, ends=True)  # more than one read's worth
    await eventually(lambda: _all_written(redis, 700))
    log = await other.find("s", lost=lost)
    assert log is not None
    assert log.ended
    assert await read(log) == frames(1, 700)


async def test_a_stream_of_one_frame_ends(relays) -> None:
    owner, other = relays
    publish(owner, 1, 1, ends=True)
    assert await read(await found(other)) == frame(1)


async def test_an_unknown_stream_is_not_found(relays) -> None:
    assert await relays[1].find("unknown", lost=lost) is None


async def test_readers_of_one_stream_share_a_mirror(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 5)
    await eventually(lambda: _all_written(redis, 5))
    first, second = await asyncio.gather(other.find("s", lost=lost), other.find("s", lost=lost))
    assert first is second
    both = asyncio.gather(read(await found(other)), read(await found(other), after=2))
    publish(owner, 6, 9, ends=True)
    assert await both == [frames(1, 9), frames(3, 9)]


async def test_a_hundred_streams_at_once_stay_in_order_and_whole(relays) -> None:
    owner, other = relays
    names = [f"stream-{number}" for number in range(100)]

    async def write(name: str) -> None:
        for number in range(1, 41):
            publish(owner, number, number, ends=number == 40, stream_id=name)
            await asyncio.sleep(0.005)

    async def follow(name: str) -> bytes:
        return await read(await found(other, name))

    *texts, _ = await asyncio.gather(*map(follow, names), asyncio.gather(*map(write, names)))
    assert texts == [frames(1, 40)] * 100


@pytest.mark.usefixtures("soon")
async def test_a_stream_whose_owner_was_killed_ends_with_one_lost_frame(redis) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, redis.url, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    async with relay_at(redis.url) as other:
        reading = asyncio.create_task(read(await found(other)))
        await eventually(lambda: _all_written(redis, 20))
        child.kill()
        await child.wait()
        text = await reading
        last = await written(redis)
        assert text == frames(1, last) + lost(last + 1)
        assert await read(await found(other), after=last - 1) == frame(last) + lost(last + 1)


async def test_a_stream_whose_owner_stops_without_ending_it_is_lost_soon(redis, monkeypatch) -> None:
    monkeypatch.setattr(redis_outbox, "OWNER_SECONDS", 10 * PATIENCE)
    async with relay_at(redis.url) as other:
        async with relay_at(redis.url) as owner:
            publish(owner, 1, 3)
            reading = asyncio.create_task(read(await found(other)))
            publish(owner, 4, 5)  # written by the relay's last breath
        assert await reading == frames(1, 5) + lost(6)


async def test_what_was_published_just_before_closing_is_written(redis) -> None:
    async with relay_at(redis.url) as owner:
        publish(owner, 1, 5_000, ends=True)
    async with relay_at(redis.url) as other:
        assert await read(await found(other)) == frames(1, 5_000)


@pytest.mark.usefixtures("soon")
async def test_redis_killed_ends_mirrors_and_nothing_else_and_is_logged_once(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 5)
    log = await found(other)
    reading = asyncio.create_task(read(log))
    with capture_logs() as logs:
        redis.kill()
        publish(owner, 6, 10)
        assert await reading == frames(1, 5) + lost(6)
        assert not await owner.is_read("s")
        assert await other.find("s", lost=lost) is None
        await asyncio.sleep(0.3)  # several tries
    assert {(entry["event"], entry["log_level"]) for entry in logs} == {("redis failed", "warning")}
    consequences = sorted(entry["consequence"].split()[-1] for entry in logs)
    assert consequences == ["elsewhere", "elsewhere", "here"]  # both write, one follows


@pytest.mark.usefixtures("soon")
async def test_redis_back_takes_streams_again_but_not_the_rest_of_those_it_lost(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 5)
    await found(other)
    with capture_logs() as logs:
        redis.kill()
        publish(owner, 1, 3, stream_id="meanwhile")
        await asyncio.sleep(0.2)
        redis.start()
        publish(owner, 6, 8)
        publish(owner, 4, 6, ends=True, stream_id="meanwhile")
        publish(owner, 1, 9, ends=True, stream_id="after")
        assert await read(await found(other, "after")) == frames(1, 9)
        assert await read(await found(other, "meanwhile")) == frames(1, 6)
        publish(owner, 9, 9, ends=True)
        await asyncio.sleep(0.1)
        await eventually(lambda: "redis works again" in [entry["event"] for entry in logs])
    other._mirrors.forget("s")
    assert await other.find("s", lost=lost) is None


@pytest.mark.usefixtures("soon")
async def test_a_short_break_of_all_connections_loses_nothing(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 5)
    reading = asyncio.create_task(read(await found(other)))
    for number in range(6, 60):
        publish(owner, number, number)
        if number % 20 == 0:
            await _break_connections(redis)
        await asyncio.sleep(0.01)
    publish(owner, 60, 60, ends=True)
    assert await reading == frames(1, 60)


@pytest.mark.usefixtures("soon")
async def test_a_write_whose_reply_is_lost_doubles_nothing(relays) -> None:
    owner, other = relays
    deafen = _deafened(owner)
    deafen()
    publish(owner, 1, 3)
    reading = asyncio.create_task(read(await found(other)))
    for number in range(4, 20):
        if number % 3 == 0:
            deafen()
        publish(owner, number, number)
        await asyncio.sleep(0.02)
    deafen()
    publish(owner, 20, 20, ends=True)
    assert await reading == frames(1, 20)
    await eventually(lambda: not owner._outbox._streams)
    assert owner._outbox.waiting_bytes == 0


async def test_redis_down_at_the_start_keeps_nobody_from_starting(tmp_path) -> None:
    with capture_logs() as logs:
        async with relay_at(f"unix://{tmp_path}/nothing.sock") as relay:
            publish(relay, 1, 5)
            assert await relay.find("s", lost=lost) is None
            assert not await relay.is_read("s")
            await relay.forget("s")
            begun = time.monotonic()
        assert time.monotonic() - begun < 15
    assert {entry["event"] for entry in logs} == {"redis failed"}


async def test_a_redis_that_hangs_holds_up_neither_publishing_nor_closing(redis) -> None:
    async with relay_at(redis.url) as relay:
        publish(relay, 1, 5)
        await eventually(lambda: _all_written(redis, 5))
        with redis.frozen():
            publish(relay, 6, 10)
            async with asyncio.timeout(4):
                assert await asyncio.gather(relay.find("s", lost=lost), relay.is_read("s")) == [None, False]
            async with asyncio.timeout(2.5):
                await relay.close()


@pytest.mark.usefixtures("soon")
async def test_a_full_redis_is_waited_for(relays, redis) -> None:
    owner, other = relays
    async with Redis.from_url(redis.url) as client:
        await client.config_set("maxmemory", 1)
        with capture_logs() as logs:
            publish(owner, 1, 5, ends=True)
            await eventually(lambda: logs)
        assert logs[0]["error"] in {"ResponseError OOM", "OutOfMemoryError"}  # Redis 6.2; 7 and newer
        assert await other.find("s", lost=lost) is None
        await client.config_set("maxmemory", 0)
    assert await read(await found(other)) == frames(1, 5)


async def test_a_redis_that_forgot_the_scripts_learns_them_again(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 5)
    reading = asyncio.create_task(read(await found(other)))
    async with Redis.from_url(redis.url) as client:
        await client.script_flush()
    publish(owner, 6, 7, ends=True)
    assert await reading == frames(1, 7)


async def test_more_frames_than_may_wait_cut_a_stream_off_without_a_gap(relays, monkeypatch) -> None:
    owner, other = relays
    publish(owner, 1, 5)
    log = await found(other)
    monkeypatch.setattr(redis_outbox, "MAX_WAITING_BYTES", 20)
    publish(owner, 6, 30)
    publish(owner, 1, 4, ends=True, stream_id="next")
    publish(owner, 31, 40, ends=True)
    assert await read(log) == frames(1, 5) + lost(6)
    assert await read(await found(other, "next")) == frames(1, 4)
    assert owner._outbox.waiting_bytes == 0


async def test_an_entry_missing_in_redis_ends_the_mirror_without_a_gap(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 3)
    log = await found(other)
    async with Redis.from_url(redis.url) as client:  # as a fail-over to a replica that lacks the newest would leave it
        await client.xadd("footnote:stream:s", {b"somebody": frame(9)}, id="9-0")
    assert await read(log) == frames(1, 3) + lost(4)


async def test_a_slow_reader_elsewhere_bounds_memory_here_and_there(relays, redis) -> None:
    owner, other = relays
    piece = b"x" * 1000
    owner.publish("s", 1, piece, last=False)
    log = await found(other)
    with log.reading(after=0, silence=PATIENCE) as reader:
        assert await reader.take()
        for number in range(2, 1001):
            owner.publish("s", number, piece, last=False)
            if number % 20 == 0:
                await asyncio.sleep(0.025)
        await eventually(lambda: _all_written(redis, 1000))
        async with Redis.from_url(redis.url) as client:
            kept = await client.memory_usage("footnote:stream:s", samples=0)
        assert kept < 3 * MAX_BYTES
        assert not log.has_room
        assert log.kept_bytes <= MAX_BYTES
        with contextlib.suppress(FramesForgotten):
            while await reader.take() is not None:
                reader.done()
    assert log.ended
    assert log.frames(after=log.last - 1)[0] == lost(log.last)


async def test_a_stream_whose_head_is_not_kept_begins_with_what_is(relays, redis) -> None:
    owner, other = relays
    for number in range(1, 501):
        owner.publish("s", number, b"%04d" % number + b"x" * 996, last=number == 500)
        await asyncio.sleep(0.001)
    await eventually(lambda: _all_written(redis, 500))
    log = await other.find("s", lost=lost)
    assert log is not None
    assert log.last == 500
    assert log.ended
    with pytest.raises(FramesForgotten):
        log.frames(after=0)
    text = await read(log, after=460)
    assert [int(text[at : at + 4]) for at in range(0, len(text), 1000)] == list(range(461, 501))


@pytest.mark.parametrize("who", ["owner", "other"])
async def test_forgetting_removes_a_stream_for_everybody_whoever_does_it(relays, redis, who) -> None:
    owner, other = relays
    async with relay_at(redis.url) as third:
        publish(owner, 1, 5)
        readings = [asyncio.create_task(read(await found(relay))) for relay in (other, third)]
        await asyncio.sleep(0.05)
        await (owner if who == "owner" else other).forget("s")
        assert await asyncio.gather(*readings) == [frames(1, 5) + lost(6)] * 2
        publish(owner, 6, 9, ends=True)
        await asyncio.sleep(0.1)
        for relay in (owner, other, third):
            relay._mirrors.forget("s")
            assert await relay.find("s", lost=lost) is None
    async with Redis.from_url(redis.url) as client:
        assert b"<" not in b"".join([await client.dump(key) for key in await client.keys("footnote:stream:*")])


async def test_forgetting_a_stream_before_it_was_written_keeps_it_from_being_written(relays) -> None:
    owner, other = relays
    await other.forget("s")
    publish(owner, 1, 5, ends=True)
    publish(owner, 1, 5, ends=True, stream_id="t")
    await found(other, "t")
    assert await other.find("s", lost=lost) is None


@pytest.mark.usefixtures("soon")
async def test_forgetting_while_redis_cannot_be_written_is_made_up_for(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 5, ends=True)
    await eventually(lambda: _all_written(redis, 5))
    with redis.frozen():
        await owner.forget("s")
    async with asyncio.timeout(PATIENCE):
        while await other.find("s", lost=lost) is not None:
            other._mirrors.forget("s")
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("soon")
async def test_the_owner_knows_whether_somebody_reads_elsewhere(relays) -> None:
    owner, other = relays
    publish(owner, 1, 5)
    assert not await owner.is_read("s")
    log = await found(other)
    assert await owner.is_read("s")  # from the moment on that it was found
    with log.reading(after=0, silence=PATIENCE):
        await asyncio.sleep(1)
        assert await owner.is_read("s")
    await eventually(lambda: _not_read(owner))


@pytest.mark.usefixtures("soon")
async def test_a_mirror_that_nobody_reads_is_dropped(relays) -> None:
    owner, other = relays
    publish(owner, 1, 5)
    await found(other)
    await eventually(lambda: not other._mirrors._mirrors)
    publish(owner, 6, 9, ends=True)
    assert await read(await found(other)) == frames(1, 9)
    await eventually(lambda: not other._mirrors._mirrors)
    assert not owner._outbox._streams


async def test_closing_ends_what_is_read_here_from_elsewhere(redis) -> None:
    async with relay_at(redis.url) as owner:
        async with relay_at(redis.url) as other:
            publish(owner, 1, 2)
            reading = asyncio.create_task(read(await found(other)))
            await asyncio.sleep(0)
        assert await reading == frames(1, 2) + lost(3)


async def test_closing_leaves_no_task_behind_whatever_it_interrupts(redis) -> None:
    for pause in range(20):
        async with relay_at(redis.url) as relay:
            publish(relay, 1, 1, ends=True)
            await found(relay)
            await asyncio.sleep(pause / 1000)
        assert all(task.done() for task in relay._tasks)


async def test_keys_expire(relays, redis) -> None:
    owner, other = relays
    publish(owner, 1, 2)
    publish(owner, 1, 2, ends=True, stream_id="ended")
    await found(other)
    await found(other, "ended")
    await other.forget("forgotten")
    async with Redis.from_url(redis.url) as client:
        lives = {key: await client.ttl(key) for key in await client.keys("*")}
    assert {key.split(b":")[1] for key in lives} == {b"stream", b"owner", b"reader"}
    assert all(0 <= life <= 900 for life in lives.values())
    assert lives[b"footnote:stream:ended"] <= 300
    assert lives[b"footnote:stream:s"] > 890


async def test_a_password_works_and_a_wrong_one_is_never_logged() -> None:
    with start_redis(password="correct-horse") as redis, capture_logs() as logs:
        async with relay_at(redis.url) as owner, relay_at(redis.url) as other:
            publish(owner, 1, 2, ends=True)
            assert await read(await found(other)) == frames(1, 2)
        assert not logs
        async with relay_at(redis.url.replace("correct-horse", "battery-staple")) as stranger:
            publish(stranger, 1, 2)
            assert await stranger.find("s", lost=lost) is None
            await eventually(lambda: len(logs) == 2)
    assert "battery" not in repr(logs)
    assert "correct" not in repr(logs)


@pytest.mark.parametrize(
    "url", ["redis://:battery-staple@host:port/0", "redis://:battery-staple@host/0?no_such_option=1"]
)
async def test_an_address_that_cannot_be_is_refused_at_the_start_without_quoting_it(url) -> None:
    with pytest.raises(SettingsError) as error:
        async with relay_at(url):
            pass
    assert "battery" not in str(error.value)
    assert error.value.__suppress_context__


def test_a_mirror_takes_overlapping_entries_once() -> None:
    mirror = Mirror("s", lost=lost)
    mirror.take([(b"3-0", [b"me", b"1", b"me", b"2", b"me", b"3"])])
    mirror.take([(b"5-0", [b"me", b"2", b"me", b"3", b"me", b"4", b"me", b"5"])])
    mirror.take([(b"6-0", [b"me.", b"5", b"me.", b"6"])])
    assert mirror.frames(after=0) == (b"123456", 6)
    assert mirror.ended
    assert mirror.owner == "me"


STEPS = st.lists(
    st.sampled_from(["publish", "publish", "publish", "burst", "pause", "find", "deafen", "break", "flood", "end"]),
    min_size=3,
    max_size=30,
)


@pytest.fixture(scope="module")
def lasting_redis() -> Iterator[RedisServer]:
    with start_redis() as server:
        yield server


@settings(max_examples=examples(10), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_every_reader_sees_all_frames_in_order_or_the_first_ones_and_a_loss(lasting_redis, steps) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redis_outbox, "RETRY_SECONDS", 0.02)
        patch.setattr(redis_mirrors, "RETRY_SECONDS", 0.02)
        patch.setattr(redis_outbox, "MAX_WAITING_BYTES", 400)
        asyncio.run(_interleave(lasting_redis, steps))


async def _interleave(redis: RedisServer, steps: list[str]) -> None:
    """Play a random history of one stream; a flood makes more wait for Redis than may."""
    name = f"stream-{time.monotonic_ns()}"
    number, flooded, readings = 0, False, []
    async with relay_at(redis.url) as owner, relay_at(redis.url) as other:
        deafen = _deafened(owner)
        for step in [*steps, "pause", "find", "end"]:
            if step in {"publish", "burst", "flood"}:
                more = {"publish": 1, "burst": 7, "flood": 120}[step]
                publish(owner, number + 1, number + more, stream_id=name)
                number += more
                flooded |= step == "flood" or owner._outbox.waiting_bytes > 300
            elif step == "pause":
                await asyncio.sleep(0.03)
            elif step == "break":
                await _break_connections(redis)
            elif step == "deafen":
                deafen()
            elif step == "find" and (log := await other.find(name, lost=lost)) is not None:
                readings.append(asyncio.create_task(read(log)))
            elif step == "end":
                break
        publish(owner, number + 1, number + 1, ends=True, stream_id=name)
        for text in await asyncio.gather(*readings):
            if text != frames(1, number + 1):
                assert flooded or "break" in steps
                seen = text.count(b"<") - 1
                assert text == frames(1, seen) + lost(seen + 1)
    assert owner._outbox.waiting_bytes == 0


def _deafened(relay: RedisRelay) -> Callable[[], None]:
    """Return a function that keeps the relay from hearing the reply to its next write."""
    write, deaf = relay._outbox._write, asyncio.Event()

    async def call(**arguments: object) -> object:
        reply = await write(**arguments)
        if deaf.is_set():
            deaf.clear()
            raise ConnectionError
        return reply

    relay._outbox._write = call
    return deaf.set


async def _all_written(redis: RedisServer, number: int) -> bool:
    return await written(redis) >= number


async def _not_read(relay: RedisRelay) -> bool:
    return not await relay.is_read("s")


async def _break_connections(redis: RedisServer) -> None:
    async with Redis.from_url(redis.url) as client:
        await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
