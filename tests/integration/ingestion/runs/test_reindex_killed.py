"""kill -9 of a builder, of its PostgreSQL and of a server: what is stored stays, once, and a build goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
from pathlib import Path

import httpx
import psycopg2
import pytest
from support.programs import Program
from support.sql import execute
from support.stack import PATIENCE, ROOT, until

from config.settings import DatabaseSettings
from storage import schema_version
from storage.collections.collections import Collections
from storage.collections.generations import Generations
from storage.database import Database
from storage.documents.writes import Documents
from storage.local import LocalPostgres

NAME = "docs"
PROGRAM = """
import asyncio, hashlib, os, sys
import numpy as np
import ingestion.pipeline.factory
from config.settings import EmbeddingSettings
from embedding.cache import Embedders

class SlowModel:
    width = 1

    def __init__(self, identity):
        self.identity = identity

    async def texts(self, texts):
        for text in texts:
            with open(os.environ["EMBEDDED"], "a") as log:
                log.write(text.replace("\\n", " ") + "\\n")
            await asyncio.sleep(0.01)
        return np.stack([self.vector(text) for text in texts])

    def vector(self, text):
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        return np.random.default_rng(seed).normal(size=self.identity.dimension).astype("float32")

class SlowModels(Embedders):
    async def of(self, identity):
        return SlowModel(identity)

ingestion.pipeline.factory.Embedders = SlowModels
from ingestion.__main__ import main
sys.exit(main())
"""


class Builder:
    """``python -m ingestion``, real but for its model, which writes down what it embeds."""

    def __init__(self, folder: Path, *, dsn: str | None, data_dir: Path) -> None:
        self.folder, self.log = folder, folder.parent / "embedded"
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
        self.env |= {
            "PYTHONPATH": str(ROOT),
            "EMBEDDED": str(self.log),
            "FOOTNOTE_DATA_DIR": str(data_dir),
            "FOOTNOTE_INGESTION__BATCH_CHUNKS": "4",
            "FOOTNOTE_INGESTION__NICE": "0",
            "FOOTNOTE_LLM__PROVIDER": "extractive",
        }
        if dsn is not None:
            self.env["FOOTNOTE_DATABASE__URL"] = dsn

    def start(self, *arguments: str, tokens: int) -> Program:
        """Begin; what was embedded before is forgotten."""
        self.log.write_text("")
        options = ["--collection", NAME, *arguments, "--json"]
        return Program(
            ["-c", PROGRAM, self.folder, "--base", self.folder, *options],
            env=self.env | {"FOOTNOTE_INGESTION__CHUNK_TOKENS": str(tokens)},
            cwd=self.folder.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, tokens: int) -> dict:
        """Run to the end; return the report."""
        process = self.start(*arguments, tokens=tokens)
        output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, output + errors
        return json.loads(output.splitlines()[-1])

    def embedded(self) -> list[str]:
        """Return the texts that the run at hand embedded."""
        return self.log.read_text().splitlines()

    def until_embedded(self, process: Program, number: int) -> None:
        """Wait until so many texts are embedded, or the process is over."""
        until(lambda: len(self.embedded()) >= number or process.poll() is not None, seconds=120)


def write_corpus(folder: Path) -> None:
    folder.mkdir()
    for number in range(40):
        parts = [f"## Part {part}\n\n" + f"Document {number} says this in part {part}. " * 8 for part in range(3)]
        (folder / f"{number:02}.md").write_text(f"# Document {number}\n\n" + "\n\n".join(parts))


def generations(dsn: str) -> dict[int, tuple[int, str]]:
    rows = execute(dsn, "SELECT number, id, state FROM footnote.generations ORDER BY number")
    return {number: (each, state) for number, each, state in rows}


def chunks(dsn: str, generation: int) -> list[tuple]:
    """Return everything that a reader sees of a generation, without serial numbers and times; documents are whole."""
    table = f"footnote.data_generation_{generation}"
    rows = execute(
        dsn,
        f"""SELECT d.source, c.document_id, c.chunk_index, c.node_id, c.text, c.page, c.start_char, c.end_char,
                c.metadata_::text, c.embedding::text, d.title, d.metadata::text, d.content_hash, d.original
            FROM {table} c JOIN footnote.documents d ON d.generation_id = c.generation_id AND d.id = c.document_id
            ORDER BY 1, 3""",
    )
    whole = execute(dsn, "SELECT source, chunks FROM footnote.documents WHERE generation_id = %s", generation)
    assert sorted((row[0], row[2]) for row in rows) == sorted(
        (source, index) for source, number in whole for index in range(number)
    )
    return rows


def texts_of(rows: list[tuple]) -> set[str]:
    return {row[4].replace("\n", " ") for row in rows}


async def _with_documents(dsn, work):
    database = await Database.open(dsn, settings=DatabaseSettings())
    try:
        return await work(database)
    finally:
        await database.close()


def delete(dsn: str, source: str) -> None:
    async def work(database):
        documents = Documents(database, generation=await Collections(database).active(NAME))
        (state,) = (await documents.states([source])).values()
        assert await documents.delete(state.id)

    asyncio.run(_with_documents(dsn, work))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [2, pytest.param(6, marks=pytest.mark.soak)])
def test_a_builder_that_is_killed_again_and_again_embeds_nothing_twice_that_was_stored(
    dsn, shared_dir, tmp_path, request, kills
):
    folder = tmp_path / "in"
    write_corpus(folder)
    builder = Builder(folder, dsn=dsn, data_dir=shared_dir)
    moments = random.Random(request.node.name)  # noqa: S311 (moments, no secrets)
    assert builder.run(tokens=128)["documents"]["added"] == 40
    stored: list[tuple] = []
    for _ in range(kills):
        process = builder.start("--reindex", "--resume", tokens=64)
        builder.until_embedded(process, moments.randint(5, 30))
        process.kill()
        process.communicate()
        assert not texts_of(stored) & without_titles(builder.embedded())
        assert generations(dsn)[1][1] == "active"
        if 2 in generations(dsn):
            before, stored = stored, chunks(dsn, generations(dsn)[2][0])
            assert {row[:5] for row in before} <= {row[:5] for row in stored}
    assert stored
    (folder / "00.md").write_text("# Document 0\n\nIt was changed while a build was left unfinished.")
    assert builder.run(tokens=128)["documents"]["changed"] == 1
    delete(dsn, "01.md")
    (folder / "01.md").unlink()
    stored = [row for row in stored if row[0] not in {"00.md", "01.md"}]
    report = builder.run("--reindex", "--resume", tokens=64)
    assert report["build"]["activated"]
    assert not texts_of(stored) & without_titles(builder.embedded())
    assert len(builder.embedded()) == report["chunks"]["written"] - report["chunks"]["reused"]
    assert report["documents"]["unchanged"] >= len({row[0] for row in stored})
    found = generations(dsn)
    assert {number: state for number, (_, state) in found.items()} == {1: "retired", 2: "active"}
    resumed = chunks(dsn, found[2][0])
    for number in (1, 2):
        rows = chunks(dsn, found[number][0])
        assert {row[0] for row in rows} == {path.name for path in folder.iterdir()}
        assert "unfinished" in "".join(row[4] for row in rows if row[0] == "00.md")
    fresh = builder.run("--reindex", tokens=64)
    assert fresh["build"]["activated"]
    assert chunks(dsn, generations(dsn)[3][0]) == resumed


def without_titles(embedded: list[str]) -> set[str]:
    """Return passages without the line of headings that is put above them to embed them."""
    return {text[text.index("Document", text.index("Part")) :] for text in embedded if "Part" in text}


@pytest.mark.soak
@pytest.mark.timeout(900)
def test_a_build_goes_on_when_postgresql_was_killed_under_it(tmp_path):
    folder, data_dir = tmp_path / "in", tmp_path / "data"
    write_corpus(folder)
    builder = Builder(folder, dsn=None, data_dir=data_dir)
    local = LocalPostgres(data_dir)
    dsn = local.start()
    asyncio.run(schema_version.upgrade(dsn))
    try:
        builder.run(tokens=128)
        process = builder.start("--reindex", tokens=64)
        builder.until_embedded(process, 20)
        assert process.poll() is None
        postmaster = int(Path(data_dir, "postgres", "postmaster.pid").read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGKILL)
        process.communicate(timeout=240)
        until(lambda: is_up(local, dsn), seconds=60)
        if process.returncode:  # it may have met the end while it held what it cannot take again
            report = builder.run("--reindex", "--resume", tokens=64)
            assert report["build"]["activated"]
        found = generations(dsn)
        assert {number: state for number, (_, state) in found.items()} == {1: "retired", 2: "active"}
        built = chunks(dsn, found[2][0])
        assert {row[0] for row in built} == {path.name for path in folder.iterdir()}
        builder.run("--reindex", tokens=64)
        assert chunks(dsn, generations(dsn)[3][0]) == built
    finally:
        local.stop()


def is_up(local: LocalPostgres, dsn: str) -> bool:
    with contextlib.suppress(OSError, subprocess.SubprocessError, psycopg2.Error):
        local.ensure_running()
        return execute(dsn, "SELECT true") == [(True,)]
    return False


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_server_that_is_killed_takes_no_answer_with_it_and_its_generation_can_be_dropped(stack):
    lease = {"CHAT__LEASE_SECONDS": "2"}
    question = {"question": "Who built the lighthouse of Ostrava Bay?", "mode": "keyword"}

    def asked(url):
        return httpx.post(f"{url}/retrieve", json=question, timeout=PATIENCE).json()

    with stack.process(**lease) as first:
        assert asked(first.url)["generation"] == "1"
        held = stack.rows("SELECT name FROM footnote.leases WHERE name LIKE 'generation %%'")
        assert len(held) == 1
        first.signal(signal.SIGKILL)
        first.popen.wait()
    with stack.serve() as second:
        assert second.post("/retrieve", json=question).json()["results"]

        async def flip(database):
            active = await Collections(database).active("default")
            made = await Generations(database).begin(
                active, embedding=active.embedding, chunking=active.chunking, fingerprint="f", resume=False
            )
            await Generations(database).finish(made, report={})
            await Generations(database).activate("default", made.name)
            return made.name

        name = asyncio.run(_with_documents(stack.dsn, flip))
        until(lambda: second.post("/retrieve", json=question).json()["generation"] == name)

        async def back(database):
            await Generations(database).activate("default", "1")

        asyncio.run(_with_documents(stack.dsn, back))
        until(lambda: second.post("/retrieve", json=question).json()["generation"] == "1")
        assert second.post("/retrieve", json=question).json()["results"]

        async def prune(database):
            return await Generations(database).prune("default", keep=0, spared_seconds=0)

        until(lambda: asyncio.run(_with_documents(stack.dsn, prune)), seconds=90)
    names = execute(stack.dsn, "SELECT tablename FROM pg_tables WHERE tablename LIKE 'data_generation_%%'")
    assert len(names) == 1
