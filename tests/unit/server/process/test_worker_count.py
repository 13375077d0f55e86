"""How many processes serve."""

from __future__ import annotations

import pytest
from structlog.testing import CapturingLogger

from config.settings import Settings, load_settings
from server.process import worker_count as module
from server.process.many import shared_out
from server.process.model_memory import UNKNOWN, WORKSPACE, bytes_of_each
from server.process.worker_count import BYTES, worker_count


@pytest.fixture
def machine(monkeypatch):
    def of(*, cores: int, free: int) -> None:
        monkeypatch.setattr(module, "cores", lambda: cores)
        monkeypatch.setattr(module, "free_memory", lambda: free)

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


def test_the_local_model_takes_its_memory_once(machine, tmp_path):
    model = tmp_path / "large.gguf"
    with model.open("wb") as file:
        file.truncate(4 * BYTES)
    machine(cores=4, free=7 * BYTES)
    assert worker_count(Settings()) == 4
    assert worker_count(Settings(llm={"provider": "local", "local_model": model})) == 2
    assert worker_count(Settings(llm={"provider": "extractive", "local_model": model})) == 4


def test_models_that_each_worker_loads_count_for_each(machine, tmp_path):
    (tmp_path / "model.safetensors").touch()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(BYTES)
    machine(cores=4, free=5 * BYTES)
    assert worker_count(Settings(embedding={"model": str(tmp_path)})) == 2
    assert worker_count(Settings(rerank={"provider": "local", "model": str(tmp_path)})) == 2
    both = Settings(embedding={"model": str(tmp_path)}, rerank={"provider": "local", "model": str(tmp_path)})
    assert worker_count(both) == 1


def test_fewer_workers_than_cores_are_told_of(machine, monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr(module, "_log", log)
    machine(cores=4, free=2 * BYTES)
    worker_count(Settings())
    assert "memory is short" in str(log.calls)


def test_a_model_of_the_hub_is_looked_for_where_the_hub_keeps_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    snapshot = tmp_path / "models--intfloat--e5" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    settings = Settings(embedding={"model": "intfloat/e5"})
    assert bytes_of_each(settings) == int(WORKSPACE * UNKNOWN)
    (snapshot / "model.safetensors").write_bytes(b"x" * 1000)
    assert bytes_of_each(settings) == int(WORKSPACE * 1000)


def test_each_worker_takes_a_burst_as_large_as_the_settings_say(monkeypatch):
    whole = Settings(
        server={"max_concurrency": 101, "max_uploads": 3, "max_watchers": 5, "workers": 4}, streams={"max_unread": 7}
    )
    for name, value in (
        ("FOOTNOTE_SERVER__MAX_CONCURRENCY", "101"),
        ("FOOTNOTE_SERVER__MAX_UPLOADS", "3"),
        ("FOOTNOTE_SERVER__MAX_WATCHERS", "5"),
        ("FOOTNOTE_STREAMS__MAX_UNREAD", "7"),
        *shared_out(whole, count=4).items(),
    ):
        monkeypatch.setenv(name, value)
    worker = load_settings()
    assert worker.server.workers == 1
    assert (worker.server.max_concurrency, worker.server.max_uploads, worker.server.max_watchers) == (101, 3, 5)
    assert worker.streams.max_unread == 7


def test_what_is_shared_out_adds_up_to_the_settings():
    settings = Settings()
    shared = shared_out(settings, count=4)
    assert "FOOTNOTE_EMBEDDING__THREADS" not in shared  # one question alone is answered by all cores
    assert shared["FOOTNOTE_JOBS__WORKER"] == "never"
    assert shared["FOOTNOTE_SERVER__WORKERS"] == "1"
    assert int(shared["FOOTNOTE_CACHE__EMBEDDING_BYTES"]) * 4 == settings.cache.embedding_bytes


def test_what_is_shared_out_is_as_the_settings_allow(monkeypatch):
    least = {
        "cache": {"embedding_bytes": 0, "answer_bytes": 65_536},
        "streams": {"kept_bytes": 65_536},
        "database": {"pool_min": 0, "pool_max": 1},
    }
    for name, value in shared_out(Settings(**least), count=64).items():
        monkeypatch.setenv(name, value)
    shared = load_settings()
    assert shared.cache.embedding_bytes == 0
    assert shared.server.workers == 1
