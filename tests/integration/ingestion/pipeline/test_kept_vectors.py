"""Vectors that were paid for and are in no document yet: kept over a kill, for one tenant, for some time and size."""

from __future__ import annotations

import json
import os
import subprocess
from types import SimpleNamespace
from uuid import UUID, uuid4

import numpy as np
import pytest
from support.embedding_server import Fault, start_embedding_server
from support.programs import ROOT, Program
from support.sql import execute
from support.stack import until

from embedding.errors import EmbeddingUnavailable
from ingestion.identity import embedded_hash
from ingestion.pipeline.keeping import KeepingEmbedder
from storage.caller import LOCAL, Caller, acting_as
from storage.documents.kept_vectors import KeptVectors
from storage.errors import StoreFailed

BATCH = 4
ANSWERED = 6
"""Requests with passages that are answered before the kill."""


@pytest.fixture
def server():
    with start_embedding_server() as started:
        yield started


def write_book(folder, *, chapters):
    folder.mkdir(exist_ok=True)
    parts = [
        f"## Chapter {n}\n\n" + " ".join(f"Chapter {n} tells story number {n * 100 + part}." for part in range(12))
        for n in range(chapters)
    ]
    (folder / "book.md").write_text("# Book\n\n" + "\n\n".join(parts))


def start(folder, *, dsn, data_dir, server, **settings):
    env = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    env |= {
        "PYTHONPATH": str(ROOT),
        "FOOTNOTE_DATA_DIR": str(data_dir),
        "FOOTNOTE_DATABASE__URL": dsn,
        "FOOTNOTE_LLM__PROVIDER": "extractive",
        "FOOTNOTE_EMBEDDING__PROVIDER": "openai_like",
        "FOOTNOTE_EMBEDDING__BASE_URL": server.openai_url,
        "FOOTNOTE_EMBEDDING__MODEL": "counted",
        "FOOTNOTE_EMBEDDING__BATCH_SIZE": str(BATCH),
        "FOOTNOTE_EMBEDDING__CONCURRENCY": "2",
        "FOOTNOTE_INGESTION__CHUNK_TOKENS": "64",
        "FOOTNOTE_INGESTION__CHUNK_OVERLAP": "0",
        "FOOTNOTE_INGESTION__NICE": "0",
        **settings,
    }
    arguments = ["-m", "ingestion", folder, "--base", folder, "--json"]
    return Program(arguments, env=env, cwd=folder.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finished(process):
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, output + errors
    return json.loads(output.splitlines()[-1])


def kept(dsn):
    return execute(dsn, "SELECT count(*) FROM footnote.kept_vectors")[0][0]


def answered_texts(server, requests):
    """Return the texts of the first requests with passages, which were answered."""
    with_passages = [each["input"] for each in server.requests if any("Chapter" in text for text in each["input"])]
    return [text for texts in with_passages[:requests] for text in texts]


@pytest.mark.timeout(300)
def test_a_killed_ingestion_asks_for_no_text_twice_that_was_answered(dsn, shared_dir, tmp_path, server):
    write_book(tmp_path / "docs", chapters=30)
    probes = 11 // BATCH + 1
    server.script(*[Fault()] * (probes + ANSWERED), *[Fault(delay=120)] * 50)
    process = start(tmp_path / "docs", dsn=dsn, data_dir=shared_dir, server=server)
    until(lambda: kept(dsn) == ANSWERED * BATCH or process.poll() is not None, seconds=120)
    assert process.poll() is None, process.communicate()
    process.kill()
    process.wait()
    paid = answered_texts(server, ANSWERED)
    assert len(paid) == ANSWERED * BATCH == kept(dsn)

    server._faults.clear()
    server.requests.clear()
    report = finished(start(tmp_path / "docs", dsn=dsn, data_dir=shared_dir, server=server))
    assert report["documents"]["added"] == 1
    again = server.texts
    assert not set(paid) & set(again)
    assert len(again) == len(set(again))
    assert len(again) + len(paid) == report["chunks"]["written"]
    assert kept(dsn) == 0
    rows = execute(dsn, "SELECT text, embedding::text FROM footnote.data_generation_1")
    for text, written in rows:
        embedded = next(each for each in (*paid, *again) if text in each)
        made = np.array(server.vector(embedded))
        stored = np.array(json.loads(written))
        assert float(stored @ made / np.linalg.norm(made) / np.linalg.norm(stored)) > 0.999


def vectors(*numbers: int) -> dict[UUID, np.ndarray]:
    return {UUID(int=number): np.full(3, number, dtype=np.float32) for number in numbers}


async def test_vectors_are_found_by_model_and_text_and_deleted(database):
    one, other = (KeptVectors(database, fingerprint=name) for name in ("one", "other"))
    with acting_as(LOCAL):
        await one.keep(vectors(1, 2))
        await one.keep(vectors(2, 3))
        found = await one.find([UUID(int=number) for number in (1, 3, 9)])
        assert {key.int: list(vector) for key, vector in found.items()} == {1: [1, 1, 1], 3: [3, 3, 3]}
        assert await other.find([UUID(int=1)]) == {}
        assert await one.kept_bytes() == 3 * 12
        await one.forget([UUID(int=1), UUID(int=9)])
        assert set(await one.find(vectors(1, 2, 3))) == {UUID(int=2), UUID(int=3)}


async def test_no_tenant_sees_or_deletes_another_s(database, dsn):
    tenant = f"t{uuid4().hex[:8]}"
    execute(dsn, f"INSERT INTO footnote.tenants (id) VALUES ('{tenant}')")
    store = KeptVectors(database, fingerprint="one")
    with acting_as(LOCAL):
        await store.keep(vectors(1))
    with acting_as(Caller(tenant, "ada", sees_all=True)):
        assert await store.find(vectors(1)) == {}
        assert await store.kept_bytes() == 0
        await store.forget(vectors(1))
        await store.keep(vectors(2))
    with acting_as(LOCAL):
        assert set(await store.find(vectors(1, 2))) == {UUID(int=1)}


async def test_what_is_too_old_is_deleted_of_all_tenants(database):
    store = KeptVectors(database, fingerprint="one")
    with acting_as(LOCAL):
        await store.keep(vectors(1, 2))
        assert await store.forget_old(days=1) == 0
        assert await store.forget_old(days=0) == 2
        assert await store.find(vectors(1, 2)) == {}


class CountingModel:
    """A remote model that tells of each text, and fails when it is told to."""

    width = 1
    identity = SimpleNamespace(dimension=3)

    def __init__(self):
        self.asked, self.fails_after = [], 99

    async def texts(self, texts, *, told):
        made = np.stack([np.full(3, len(text), dtype=np.float32) for text in texts])
        for place, text in enumerate(texts):
            if len(self.asked) >= self.fails_after:
                msg = "down"
                raise EmbeddingUnavailable(msg)
            self.asked.append(text)
            await told([place], made[[place]])
        return made


async def test_what_a_failure_left_is_used_and_no_more_is_kept_than_there_is_room_for(database):
    store, model = KeptVectors(database, fingerprint="one"), CountingModel()
    with acting_as(LOCAL):
        model.fails_after = 2
        with pytest.raises(EmbeddingUnavailable):
            await (await KeepingEmbedder.opened(model, kept=store, most=1000)).texts(["a", "bb", "ccc"])
        model.fails_after = 99
        keeping = await KeepingEmbedder.opened(model, kept=store, most=40)  # of which two vectors take 24
        made = await keeping.texts(["a", "bb", "ccc", "dddd"])
        assert [row[0] for row in made.tolist()] == [1, 2, 3, 4]
        assert model.asked == ["a", "bb", "ccc", "dddd"]
        assert set(await store.find(map(embedded_hash, ["a", "bb", "ccc", "dddd"]))) == {
            *map(embedded_hash, ["a", "bb", "ccc"])
        }
        await keeping.written(map(embedded_hash, ["a", "bb"]))
        await keeping.forget_written()
        assert set(await store.find(map(embedded_hash, ["a", "bb", "ccc"]))) == {embedded_hash("ccc")}
        await keeping.texts(["eeeee", "ffffff"])
        assert await store.kept_bytes() == 36


async def test_an_ingestion_goes_on_where_nothing_can_be_kept(database):
    class Broken(KeptVectors):
        async def keep(self, vectors):  # noqa: ARG002
            msg = "the disk is full"
            raise StoreFailed(msg)

    model = CountingModel()
    with acting_as(LOCAL):
        keeping = await KeepingEmbedder.opened(model, kept=Broken(database, fingerprint="one"), most=1000)
        assert (await keeping.texts(["a", "bb"])).shape == (2, 3)
