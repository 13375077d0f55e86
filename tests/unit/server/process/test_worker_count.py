"""How many processes serve."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from config.settings import Settings
from server.process import worker_count as module
from server.process.many import shared_out
from server.process.worker_count import BYTES, worker_count


@pytest.fixture
def machine(monkeypatch):
    def of(*, cores: int, free: int) -> None:
        monkeypatch.setattr(module.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
        monkeypatch.setattr(module.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))

    return of


@pytest.mark.parametrize(
    ("cores", "free", "workers"), [(1, 99, 1), (2, 99, 2), (3, 99, 3), (64, 99, 4), (4, 2, 2), (4, 0, 1)]
)
def test_one_a_core_but_no_more_than_memory_has_room_for(machine, cores, free, workers):
    machine(cores=cores, free=free * BYTES)
    assert worker_count(Settings()) == workers


def test_the_settings_decide(machine):
    machine(cores=2, free=0)
    assert worker_count(Settings(server={"workers": 7})) == 7


def test_the_local_model_is_one_worker_s(machine):
    machine(cores=4, free=99 * BYTES)
    assert worker_count(Settings(llm={"provider": "local"})) == 1


def test_what_is_shared_out_adds_up_to_the_settings():
    settings = Settings(server={"max_concurrency": 101, "max_uploads": 3}, embedding={"threads": 8})
    shared = shared_out(settings, count=4, dsn="postgresql://x")
    assert int(shared["FOOTNOTE_SERVER__MAX_CONCURRENCY"]) == 26
    assert int(shared["FOOTNOTE_SERVER__MAX_UPLOADS"]) == 1
    assert int(shared["FOOTNOTE_EMBEDDING__THREADS"]) == 2
    assert shared["FOOTNOTE_JOBS__WORKER"] == "never"
    assert shared["FOOTNOTE_SERVER__WORKERS"] == "1"
