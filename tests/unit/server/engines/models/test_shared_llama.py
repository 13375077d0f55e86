"""A ``llama-server`` that another process runs, told of in a file."""

from __future__ import annotations

import asyncio
import stat
from types import SimpleNamespace

import pytest
from structlog.testing import CapturingLogger

from server.engines.models.errors import ModelUnavailable
from server.engines.models.shared_llama import UNREADABLE, SharedLlama, publish


@pytest.fixture
def owner():
    return SimpleNamespace(url="", key="secret", state="it is starting", pid=None, on_change=lambda: None)


async def test_those_who_share_it_follow_its_owner(owner, tmp_path):
    file = tmp_path / "llama.json"
    shared = SharedLlama(file)
    assert (shared.state, shared.key, shared.pid) == (UNREADABLE, "", None)
    publish(owner, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert shared.state == "it is starting"
    with pytest.raises(ModelUnavailable, match="it is starting"):
        await shared.ready(timeout=0.1)
    waiting = asyncio.create_task(shared.ready(timeout=None))
    await asyncio.sleep(0.1)
    owner.url, owner.state, owner.pid = "http://127.0.0.1:5/v1", None, 77
    owner.on_change()
    async with asyncio.timeout(10):
        assert await waiting == "http://127.0.0.1:5/v1"
    assert (shared.state, shared.key, shared.pid) == (None, "secret", 77)


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
async def test_a_file_that_says_nothing_is_told_of(tmp_path, content):
    file = tmp_path / "llama.json"
    file.write_text(content)
    with pytest.raises(ModelUnavailable, match="not known"):
        await SharedLlama(file).ready(timeout=0)


async def test_a_folder_that_is_gone_stops_nobody(owner, tmp_path, monkeypatch):
    log = CapturingLogger()
    monkeypatch.setattr("server.engines.models.shared_llama._log", log)
    publish(owner, tmp_path / "nowhere" / "llama.json")
    owner.on_change()
    assert "do not learn" in str(log.calls)
