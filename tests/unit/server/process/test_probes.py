import asyncio
import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from server.process import disks, probes
from server.process.disks import Disks
from server.process.probes import Check, DependencyState, Probes

UP = DependencyState(ok=True, detail="answers")


async def never():
    await asyncio.Event().wait()
    return {}


async def up():
    return {"quick": UP}


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(probes, "LOOK_WITHIN", 0.05)


async def test_what_does_not_answer_counts_as_down_and_holds_up_nobody():
    looked = Probes()
    checks = {"a": Check(never, required=("silent", "behind it")), "b": Check(up, optional=("quick",))}
    async with asyncio.timeout(30):
        states = await looked.look(checks)
        await looked.close()
    assert states["quick"] == UP
    assert not states["silent"].ok
    assert states["silent"].required
    assert "did not answer" in states["behind it"].detail


async def test_what_answers_others_meanwhile_is_busy_and_not_down():
    looked = Probes()
    at = time.monotonic()
    checks = {
        "busy": Check(never, required=("busy",), answered=lambda since: at + 3600 > since),
        "down": Check(never, required=("down",), answered=lambda since: at > since),
    }
    states = await looked.look(checks)
    await looked.close()
    assert (states["busy"].ok, states["down"].ok) == (True, False)
    assert "answers others" in states["busy"].detail


async def test_a_check_runs_once_however_many_wait_for_it():
    looked, started, go = Probes(), 0, asyncio.Event()

    async def counted():
        nonlocal started
        started += 1
        await go.wait()
        return {"slow": UP}

    checks = {"slow": Check(counted, optional=("slow",))}
    found = await asyncio.gather(*(looked.look(checks) for _ in range(5)))
    assert not any(states["slow"].ok for states in found)
    assert started == 1
    go.set()
    await asyncio.sleep(0)
    assert (await looked.look(checks))["slow"] == UP


async def test_an_error_of_a_check_is_raised_and_the_next_look_is_a_new_one():
    looked = Probes()

    async def broken():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await looked.look({"a": Check(broken)})
    assert await looked.look({"a": Check(up)}) == {"quick": UP}


async def test_the_background_look_outlives_an_error_and_is_read_as_a_metric(monkeypatch):
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.0)
    looked, looks, seen = Probes(), 0, asyncio.Event()

    async def look():
        nonlocal looks
        looks += 1
        if looks == 1:
            raise ZeroDivisionError
        if looks > 2:
            seen.set()
        return {"database": DependencyState(ok=False, detail="away"), "model": UP}

    async with asyncio.timeout(30), looked.repeated(look):
        await seen.wait()
        assert list(looked._readings()) == [(0, {"dependency": "database"}), (1, {"dependency": "model"})]


async def test_what_is_down_is_told_once_and_of_the_model_at_first_the_start_tells(monkeypatch):
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.0)
    away = DependencyState(ok=False, detail="away")
    found = iter(
        [{"database": away, "model": away}] * 2 + [{"database": UP, "model": UP}, {"database": UP, "model": away}]
    )
    looked, over = Probes(), asyncio.Event()

    async def look():
        if (states := next(found, None)) is None:
            over.set()
            await asyncio.Event().wait()
        return states

    with capture_logs() as lines:
        async with asyncio.timeout(30), looked.repeated(look):
            await over.wait()
    assert [(line["event"], line["dependency"]) for line in lines] == [
        ("a dependency is down", "database"),
        ("a dependency is up again", "database"),
        ("a dependency is up again", "model"),
        ("a dependency is down", "model"),
    ]


async def test_of_several_workers_one_tells_what_is_down(monkeypatch):
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.0)
    found, over = iter([DependencyState(ok=False, detail="away"), UP, UP]), asyncio.Event()

    async def look():
        if (state := next(found, None)) is None:
            over.set()
        return {"redis": state or UP}

    with capture_logs() as lines:
        async with asyncio.timeout(30), Probes(tells=False).repeated(look):
            await over.wait()
    assert {line["log_level"] for line in lines} <= {"debug"}  # which an earlier test may have switched off


GIB = 1024**3


@pytest.mark.parametrize(
    ("free", "size", "is_low"),
    [(9, 1000, True), (11, 1000, False), (1, 2, False), (0.1, 2, True), (9, 20, False), (0, 0.0625, True)],
)
async def test_a_disk_is_low_when_less_than_a_tenth_and_less_than_ten_gib_are_left(
    tmp_path, monkeypatch, free, size, is_low
):
    usage = SimpleNamespace(free=int(free * GIB), used=int((size - free) * GIB), total=int(size * GIB))
    monkeypatch.setattr(disks.shutil, "disk_usage", lambda _folder: usage)
    seen = Disks({"uploads": tmp_path / "not" / "there" / "yet"})
    state = (await seen.look())["disk"]
    assert state.ok is not is_low
    assert not state.required
    assert ("uploads" in state.detail) is is_low
    assert list(seen.free()) == [(usage.free, {"footnote.disk": "uploads"})]
    assert list(seen.sizes()) == [(usage.used + usage.free, {"footnote.disk": "uploads"})]


async def test_what_goes_down_and_comes_back_is_logged_once(monkeypatch):
    monkeypatch.setattr(probes, "PROBE_SECONDS", 0.001)
    down = DependencyState(ok=False, detail="not available")
    states = iter([down, down, UP, UP])
    over = asyncio.Event()

    async def look():
        found = next(states, None)
        if found is None:
            over.set()
        return {"database": found or UP}

    with capture_logs() as lines:
        async with asyncio.timeout(30), Probes().repeated(look):
            await over.wait()
    told = [(line["event"], line["log_level"], line["dependency"], line["detail"]) for line in lines]
    assert told == [
        ("a dependency is down", "warning", "database", "not available"),
        ("a dependency is up again", "info", "database", "answers"),
    ]
