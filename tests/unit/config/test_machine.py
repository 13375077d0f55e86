"""What a process may use of its machine."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from config import machine


@pytest.fixture
def cgroup(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine.psutil, "virtual_memory", lambda: SimpleNamespace(available=8_000))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        (None, 8),
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("1000 100000", 1),
        ("1600000 100000", 8),
        ("", 8),
        ("junk", 8),
        ("1 0", 1),
    ],
)
def test_cores_are_those_of_the_affinity_and_of_the_quota(cgroup, quota, cores):
    if quota is not None:
        (cgroup / "cpu.max").write_text(quota + "\n")
    assert machine.cores() == cores


@pytest.mark.parametrize(
    ("limit", "used", "cached", "free"),
    [
        ("max", 5_000, 0, 8_000),
        ("6000", 5_000, 0, 1_000),
        ("6000", 5_000, 500, 1_500),
        ("6000", 7_000, 0, 0),
        ("90000", 5_000, 0, 8_000),
        ("junk", 5_000, 0, 8_000),
    ],
)
def test_free_memory_is_bounded_by_the_container_s(cgroup, limit, used, cached, free):
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{used}\n")
    (cgroup / "memory.stat").write_text(f"anon 77\ninactive_file {cached}\n")
    assert machine.free_memory() == free


def test_without_a_cgroup_free_memory_is_the_machine_s(cgroup):
    assert machine.free_memory() == 8_000
    assert cgroup.exists()
