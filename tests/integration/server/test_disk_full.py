"""A disk that is full: questions are answered, also by a server that has just started; what writes is told why not."""

import asyncio
import shutil
from pathlib import Path

import httpx
from support.databases import in_database
from support.disks import small_disk
from support.indexed import index
from support.model_server import Reply, start_model_server
from support.sql import execute
from support.stack import Stack, until
from support.traffic import MESSAGE, QUESTION

from storage import schema_version
from storage.local import LocalPostgres

BLOCK = 4096


def fill(folder: Path) -> list[Path]:
    """Leave no byte free; return the files that take the room."""
    fillers = [folder / f"filler-{size}" for size in (1 << 20, BLOCK)]
    for filler, size in zip(fillers, (1 << 20, BLOCK), strict=True):
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    assert shutil.disk_usage(folder).free < BLOCK
    return fillers


def test_a_full_disk_leaves_questions_alone_and_is_named_to_who_writes(embedder):
    with small_disk(megabytes=256) as folder, start_model_server() as model:
        model.default = Reply("The engineer Milada Novak built it [1].")
        local = LocalPostgres(folder)
        dsn = local.start()
        try:
            asyncio.run(schema_version.upgrade(dsn))
            in_database(dsn, lambda database: index(database, embedder))
            execute(dsn, "CHECKPOINT")
            fillers = fill(folder)
            stack = Stack(dsn, data_dir=Path(folder), embedder=embedder, model=model)
            with stack.process() as server, httpx.Client(base_url=server.url, timeout=120) as http:
                for path in ("/retrieve", "/query"):
                    response = http.post(path, json=QUESTION)
                    assert response.status_code == 200, response.text
                refused = until(lambda: _refused(http))  # the last pages and segments have room for a few
                assert refused.status_code == 503
                assert refused.json()["type"] == "/problems/store-unavailable"
                assert "disk is full" in refused.json()["detail"]
                disk = http.get("/ready").json()["dependencies"]["disk"]
                assert not disk["ok"]
                assert "uploads: 0.00 GiB" in disk["detail"]
                http.post("/query", json=QUESTION).raise_for_status()
                for filler in fillers:
                    filler.unlink()
                until(lambda: http.post("/chat", json=MESSAGE).is_success)
        finally:
            local.stop()


def _refused(http: httpx.Client) -> httpx.Response | None:
    response = http.post("/chat", json={"message": "Who built the lighthouse? " + "x" * 6000})
    return None if response.is_success else response
