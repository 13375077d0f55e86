"""kill -9 at random moments, then a second run: the index equals one that was never disturbed, chunk for chunk."""

import contextlib
import json
import os
import random
import subprocess
import time
from pathlib import Path

import psycopg2
import pytest
from support.programs import Program

SUPPORT = Path(__file__).parents[3] / "support" / "ingest_made_up.py"


def start(dsn, data_dir, folder):
    root = SUPPORT.parents[2]
    return Program(
        [SUPPORT, dsn, data_dir, folder],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])},
    )


def finish(process):
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def index(dsn):
    """Return everything a reader can see, without serial numbers and times."""
    with contextlib.closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        cursor.execute(
            """SELECT document_id, chunk_index, node_id, text, page, start_char, end_char, metadata_::text,
                   embedding::text
               FROM footnote.data_generation_1 ORDER BY 1, 2"""
        )
        chunks = cursor.fetchall()
        cursor.execute(
            """SELECT id, source, title, metadata::text, content_hash, pipeline_fingerprint, bytes, chunks
               FROM footnote.documents ORDER BY 1"""
        )
        return chunks, cursor.fetchall()


def write_corpus(folder, *, version):
    folder.mkdir(exist_ok=True)
    for number in range(60 + 4 * version):
        words = f"Document {number} in version {version if number % 3 else 0} says things. "
        sections = [f"## Part {part}\n\n" + f"{words} Part {part} adds to it. " * 6 for part in range(number % 5 + 1)]
        (folder / f"{number:02}.md").write_text(f"# Document {number}\n\n" + "\n\n".join(sections))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [1, pytest.param(10, marks=pytest.mark.soak)])
def test_an_ingestion_that_is_killed_ends_as_an_undisturbed_one(databases, dsn, shared_dir, tmp_path, kills):
    folder = tmp_path / "corpus"
    moments = random.Random(kills)  # noqa: S311 (moments, no secrets)
    write_corpus(folder, version=1)
    assert finish(start(dsn, shared_dir, folder))["documents"]["added"] == 64

    killed = 0
    for kill in range(kills):
        write_corpus(folder, version=kill + 2)  # replacements, and documents that are new
        process = start(dsn, shared_dir, folder)
        for _ in range(moments.randint(1, 10)):
            assert process.stdout.readline() == "embedding\n"
        time.sleep(moments.uniform(0, 0.02))
        killed += process.poll() is None
        process.kill()
        process.wait()
        chunks, documents = index(dsn)
        per_document = {}
        for chunk in chunks:
            per_document.setdefault(chunk[0], []).append(chunk[1])
        assert all(per_document[row[0]] == list(range(row[7])) for row in documents)  # whole or not at all
    assert killed > kills // 2
    write_corpus(folder, version=20)
    assert finish(start(dsn, shared_dir, folder))["exit_code"] == 0
    disturbed = index(dsn)

    other = tmp_path / "fresh"
    write_corpus(other, version=20)
    with databases.lend() as fresh_dsn:
        finish(start(fresh_dsn, shared_dir, other))
        assert disturbed == index(fresh_dsn)
