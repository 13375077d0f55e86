"""What an ingestion from the command line tells a collector: a real process, a real database, a real OTLP receiver."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.flips import add_collection, add_generation
from support.otlp import Receiver, start_receiver
from support.programs import Program
from support.sql import execute
from support.workers import ended

from config.settings import EmbeddingSettings
from config.telemetry import spans
from embedding.files import find_model
from storage.collections.collections import Collections
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.jobs.jobs import JobStore, NewJob
from storage.jobs.payloads import IndexDocument

ROOT = Path(__file__).parents[4]
CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE, PARENT = CALLER.split("-")[1:3]
SECRET = "wombat-77-secret"

# the command, with a model that fails on POISON and is slow on SLEEP; the settings follow as JSON
PROGRAM = """
import asyncio, json, sys
import numpy as np
import embedding.files
import embedding.opening
import ingestion.pipeline.tracing
from embedding.errors import EmbeddingFailed

faults = json.loads(sys.argv.pop(1))
ingestion.pipeline.tracing.MAX_DOCUMENTS = faults.get("max_documents", 500)

class Model:
    width = 1

    async def texts(self, texts):
        if any("POISON" in text for text in texts):
            raise EmbeddingFailed("the embedding model failed")
        if any("SLEEP" in text for text in texts):
            print("sleeping", file=sys.stderr, flush=True)
            await asyncio.sleep(faults["sleep"])
        return np.full((len(texts), 384), 384**-0.5, dtype="float32")

    def close(self):
        pass

def open_embedder(settings):
    model = Model()
    model.files = embedding.files.find_model(settings.embedding)
    return model

embedding.opening.open_embedder = open_embedder
from ingestion.__main__ import main
code = main()
if faults.get("tell_modules"):
    print(json.dumps([name for name in sys.modules if name.startswith("opentelemetry.sdk")]), file=sys.stderr)
sys.exit(code)
"""


@pytest.fixture
def receiver():
    with start_receiver() as opened:
        yield opened


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "corpus"
    made.mkdir()
    return made


@pytest.fixture
def ingest(dsn, shared_dir, folder, receiver):
    """Return a function that runs the command on the folder."""

    def run(*arguments, **options):
        process = start(*arguments, dsn=dsn, data_dir=shared_dir, folder=folder, receiver=receiver, **options)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    return run


def start(*arguments, dsn, data_dir, folder, receiver, real=False, faults=None, caller=None, **settings):
    arguments = [str(folder), "--base", str(folder), "--json", *arguments]
    settings = {"data_dir": data_dir, "database__url": dsn, "ingestion__nice": 0, **settings}
    return command(*arguments, receiver=receiver, real=real, faults=faults, caller=caller, **settings)


def command(*arguments, receiver, real=False, faults=None, caller=None, **settings):
    program = ["-m", "ingestion"] if real else ["-c", PROGRAM, json.dumps(faults or {})]
    if receiver is not None:
        settings.setdefault("telemetry__endpoint", receiver.http_url)
    return Program(
        [*program, *arguments],
        env={
            **os.environ,
            **{f"FOOTNOTE_{name.upper()}": str(value) for name, value in settings.items()},
            **({"TRACEPARENT": caller} if caller else {}),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def write(folder, **texts):
    for name, text in texts.items():
        (folder / f"{name}.md").write_text(text)


def own_tree(receiver: Receiver, trace_id: str) -> list[str]:
    """Return the trace's tree without statements and models, which have tests of their own."""
    names = (line for line in receiver.tree(trace_id) if line.lstrip().startswith("footnote."))
    return list(names)


def trace_of(receiver: Receiver) -> str:
    return receiver.span("footnote.ingest").trace_id


def documents(receiver: Receiver, **attributes):
    wanted = {f"footnote.{name}": value for name, value in attributes.items()}.items()
    return [span for span in receiver.spans(name="footnote.ingest.document") if wanted <= span.attributes.items()]


def counted(receiver: Receiver, name: str, label: str) -> dict[str, int]:
    points = receiver.points(name, {"footnote.collection": "default"} if "cache" not in name else {})
    return {point.attributes[label]: point.value for point in points if point.value}


@pytest.mark.usefixtures("embedder")  # its model is exported by now
def test_an_ingestion_is_one_trace_from_its_caller_to_its_last_statement(ingest, receiver, folder):
    write(folder, a="# Alpha\n\nThe first.", b="# Beta\n\nThe second.", c="# Gamma\n\nThe third.")
    done = ingest(real=True, caller=CALLER)
    assert done.returncode == 0, done.stderr
    assert {span.trace_id for span in receiver.spans()} == {TRACE}
    root = receiver.span("footnote.ingest")
    assert root.parent_id == PARENT
    told = {name: value for name, value in root.attributes.items() if value}
    assert told == {
        "footnote.collection": "default",
        "footnote.generation": "1",
        "footnote.outcome": "complete",
        "footnote.documents.added": 3,
        "footnote.chunks": 3,
        "footnote.bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }
    assert root.status_code == "unset"
    tree = own_tree(receiver, TRACE)
    assert tree[:2] == ["footnote.ingest", "  footnote.ingest.compare"]
    assert tree.count("  footnote.ingest.document") == 3
    assert tree.count("    footnote.ingest.parse") == tree.count("    footnote.ingest.write") == 3
    assert tree.count("  footnote.ingest.load_model") == 1
    assert "  footnote.ingest.embed" in tree
    for span in documents(receiver):
        below = [child for child in receiver.spans(TRACE) if child.parent_id == span.span_id]
        assert {"footnote.ingest.parse", "footnote.ingest.write"} <= {child.name for child in below}
        assert all(span.covers(child) for child in below)
        assert root.covers(span)
        assert (span.attributes["footnote.outcome"], span.attributes["footnote.chunks"]) == ("added", 1)
        write_span = next(child for child in below if child.name == "footnote.ingest.write")
        assert any(child.parent_id == write_span.span_id and child.kind == "client" for child in receiver.spans(TRACE))
    models = [span for span in receiver.spans() if span.name.startswith("embeddings ")]
    assert {span.parent_id for span in models} == {
        span.span_id for span in receiver.spans(name="footnote.ingest.embed")
    }


def test_a_batch_is_linked_to_the_documents_whose_chunks_are_in_it(ingest, receiver, folder):
    write(folder, **{f"d{number}": f"# Document {number}\n\nSomething." for number in range(8)})
    assert ingest().returncode == 0
    batches = receiver.spans(name="footnote.ingest.embed")
    linked = [link.span_id for batch in batches for link in batch.links]
    assert sorted(linked) == sorted(span.span_id for span in documents(receiver))
    assert {batch.parent_id for batch in batches} == {receiver.span("footnote.ingest").span_id}
    assert sum(batch.attributes["footnote.chunks"] for batch in batches) == 8


def test_metrics_say_what_came_of_documents_and_lead_to_the_trace(ingest, receiver, folder):
    write(folder, a="# Alpha\n\nThe first.", b="# Beta\n\nThe second.")
    (folder / "picture.md").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "film.mp4").write_bytes(b"film")
    assert ingest().returncode == 3
    assert counted(receiver, "footnote.ingestion.documents", "footnote.outcome") == {
        "added": 2,
        "skipped": 1,
        "ignored": 1,
    }
    assert counted(receiver, "footnote.ingestion.chunks", "footnote.result") == {"embedded": 2}
    (size,) = receiver.points("footnote.ingestion.bytes")
    assert size.value == sum((folder / name).stat().st_size for name in ("a.md", "b.md"))
    stages = {
        point.attributes["footnote.stage"]: point for point in receiver.points("footnote.ingestion.stage.duration")
    }
    assert {name: stages[name].count for name in ("parse", "write")} == {"parse": 3, "write": 2}
    assert stages["embed"].count >= 1
    spans = {span.span_id: span for span in receiver.spans()}
    for name, point in stages.items():
        assert {spans[exemplar.span_id].name for exemplar in point.exemplars} == {f"footnote.ingest.{name}"}
    (skipped,) = documents(receiver, outcome="skipped")
    assert skipped.attributes["footnote.reason"] == "a damaged image, or one of a kind that is not read"
    assert skipped.status_code == "unset"


def test_a_second_run_tells_that_nothing_has_changed_and_reads_nothing(ingest, receiver, folder):
    write(folder, a="# Alpha\n\nThe first.", b="# Beta\n\nThe second.")
    ingest()
    receiver.forget()
    assert ingest().returncode == 0
    assert own_tree(receiver, trace_of(receiver)) == ["footnote.ingest", "  footnote.ingest.compare"]
    root = receiver.span("footnote.ingest")
    assert (root.attributes["footnote.documents.unchanged"], root.attributes["footnote.bytes"]) == (2, 0)
    assert counted(receiver, "footnote.ingestion.documents", "footnote.outcome") == {"unchanged": 2}


def test_vectors_that_were_stored_already_count_as_hits(ingest, receiver, folder):
    text = [f"## Part {part}\n\n" + f"Part {part} says this. " * 150 for part in range(3)]
    write(folder, a="# Alpha\n\n" + "\n\n".join(text))
    ingest()
    (first,) = documents(receiver)
    receiver.forget()
    write(folder, a="# Alpha\n\n" + "\n\n".join([*text, "## New\n\n" + "All new. " * 150]))
    assert ingest().returncode == 0
    (document,) = documents(receiver, outcome="changed")
    assert document.attributes["footnote.document.id"] == first.attributes["footnote.document.id"]
    hits = counted(receiver, "footnote.cache.lookups", "footnote.result")
    assert hits == {"hit": document.attributes["footnote.chunks.reused"], "miss": hits["miss"]}
    assert hits["hit"] >= 3
    assert hits["hit"] + hits["miss"] == document.attributes["footnote.chunks"]
    chunks = counted(receiver, "footnote.ingestion.chunks", "footnote.result")
    assert chunks == {"reused": hits["hit"], "embedded": hits["miss"]}


def test_a_document_that_fails_is_an_error_once_and_the_run_is_none(ingest, receiver, folder, dsn):
    write(folder, good="# Good\n\nIt is.", bad="# Bad\n\nPOISON.", refused="# Refused\n\nBy the database.")
    refuse(dsn, source="refused.md")
    done = ingest()
    assert done.returncode == 1, done.stderr
    root = receiver.span("footnote.ingest")
    assert root.status_code == "unset"
    assert (root.attributes["footnote.outcome"], root.attributes["footnote.documents.failed"]) == ("complete", 2)
    failed = {span.attributes["error.type"]: span for span in documents(receiver, outcome="failed")}
    assert set(failed) == {"model-unavailable", "internal"}
    assert {span.status_code for span in failed.values()} == {"error"}
    assert {span.status_message for span in receiver.spans()} == {""}
    assert [span.status_code for span in documents(receiver, outcome="added")] == ["unset"]
    below = [span for span in receiver.spans() if span.parent_id == failed["internal"].span_id]
    recorded = [event for span in receiver.spans() for event in span.events if event.name == "exception"]
    assert {span.name for span in below if span.status_code == "error"} == {"footnote.ingest.write"}
    assert sorted({event.attributes["exception.type"] for event in recorded}) != []
    assert all(not span.events for span in failed.values())  # it was told where it happened
    assert counted(receiver, "footnote.ingestion.documents", "footnote.outcome") == {"added": 1, "failed": 2}


def test_a_reader_that_does_not_come_back_is_an_error_of_reading_and_the_file_is_skipped(ingest, receiver, folder):
    write(folder, a="# Alpha\n\n" + "The first of many words. " * 400_000)
    assert ingest(ingestion__parse_timeout=0.05).returncode == 3
    reading = receiver.span("footnote.ingest.parse")
    assert (reading.status_code, reading.attributes["error.type"]) == ("error", "internal")
    assert [event.attributes["exception.type"] for event in reading.events] == ["builtins.TimeoutError"]
    (document,) = documents(receiver, outcome="skipped")
    assert (document.status_code, document.span_id) == ("unset", reading.parent_id)


def test_a_run_that_cannot_start_is_an_error_of_its_root(ingest, receiver, folder):
    write(folder, a="# Alpha")
    done = ingest(database__url="postgresql://nobody@127.0.0.1:9/x", database__connect_timeout=1)
    assert done.returncode == 2
    assert "not available" in done.stderr
    root = receiver.span("footnote.ingest")
    assert (root.status_code, root.attributes["error.type"]) == ("error", "store-unavailable")


def test_a_run_that_is_asked_to_stop_finishes_what_it_has_in_hand_and_says_so(receiver, folder, dsn, shared_dir):
    write(folder, **{f"d{number}": f"# Document {number}\n\nSLEEP." for number in range(5)})
    process = start(dsn=dsn, data_dir=shared_dir, folder=folder, receiver=receiver, faults={"sleep": 2})
    wait_for_line(process, "sleeping")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    root = receiver.span("footnote.ingest")
    assert (root.attributes["footnote.outcome"], root.status_code) == ("interrupted", "unset")
    done, left = documents(receiver, outcome="added"), documents(receiver, outcome="interrupted")
    assert len(done) == root.attributes["footnote.documents.added"] >= 1
    assert len(done) + len(left) == len(documents(receiver))
    assert all(root.covers(span) for span in left)


def test_a_run_that_is_stopped_at_once_ends_every_span(receiver, folder, dsn, shared_dir):
    write(folder, a="# Alpha\n\nSLEEP.", b="# Beta\n\nThe second.")
    process = start(dsn=dsn, data_dir=shared_dir, folder=folder, receiver=receiver, faults={"sleep": 60})
    wait_for_line(process, "sleeping")
    process.send_signal(signal.SIGINT)
    wait_for_line(process, "stopping after")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.splitlines() == ["stopped; run it again to go on"]
    root = receiver.span("footnote.ingest")
    assert (root.attributes["footnote.outcome"], root.status_code) == ("cancelled", "unset")
    ids = {span.span_id for span in receiver.spans()}
    assert all(span.parent_id in ids for span in receiver.spans() if span != root)
    assert {span.attributes["footnote.outcome"] for span in documents(receiver)} == {"interrupted"}
    assert {span.status_code for span in receiver.spans()} == {"unset"}


def test_of_a_killed_run_what_was_done_has_been_sent(receiver, folder, dsn, shared_dir):
    write(folder, a="# Alpha\n\nSLEEP.")
    process = start(dsn=dsn, data_dir=shared_dir, folder=folder, receiver=receiver, faults={"sleep": 60})
    wait_for_line(process, "sleeping")
    receiver.wait_for(lambda: receiver.spans(name="footnote.ingest.parse"))
    process.kill()
    assert process.wait(30) == -signal.SIGKILL
    assert receiver.spans(name="footnote.ingest") == []


@pytest.mark.parametrize("protocol", ["http/protobuf", pytest.param("grpc", marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "trouble", ["hangs", *(pytest.param(each, marks=pytest.mark.soak) for each in ("refuses", "is gone"))]
)
def test_a_collector_in_trouble_changes_neither_exit_code_nor_report(ingest, receiver, folder, protocol, trouble):
    write(folder, a="# Alpha\n\nThe first.")
    url = receiver.grpc_url if protocol == "grpc" else receiver.http_url
    {"refuses": lambda: receiver.refuse(503), "hangs": receiver.hang, "is gone": receiver.close}[trouble]()
    done = ingest(telemetry__endpoint=url, telemetry__protocol=protocol)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["documents"]["added"] == 1
    lines = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert len(lines) <= 2  # of traces and of metrics
    assert {line["event"] for line in lines} <= {"telemetry is not delivered"}
    assert "Traceback" not in done.stderr


def test_without_a_receiver_nothing_of_opentelemetry_s_sdk_is_loaded(ingest, folder):
    write(folder, a="# Alpha\n\nThe first.")
    done = ingest(telemetry__endpoint="", caller=CALLER, faults={"tell_modules": True})
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_telemetry_that_is_switched_off_sends_nothing(ingest, receiver, folder):
    write(folder, a="# Alpha\n\nThe first.")
    assert ingest(telemetry__enabled="false").returncode == 0
    assert receiver.deliveries == []


def test_a_caller_who_samples_nothing_gets_no_spans_but_counts(ingest, receiver, folder):
    write(folder, a="# Alpha\n\nThe first.")
    assert ingest(caller=CALLER.removesuffix("01") + "00").returncode == 0
    assert receiver.spans() == []
    assert counted(receiver, "footnote.ingestion.documents", "footnote.outcome") == {"added": 1}
    assert not any(point.exemplars for points in receiver.metrics().values() for point in points)


@pytest.mark.parametrize(
    "broken",
    [
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        *(pytest.param(each, marks=pytest.mark.soak) for each in ("", "rubbish", CALLER + "\u00e9" * 300)),
    ],
)
def test_a_broken_traceparent_is_as_good_as_none(ingest, receiver, folder, broken):
    write(folder, a="# Alpha\n\nThe first.")
    assert ingest(caller=broken).returncode == 0
    root = receiver.span("footnote.ingest")
    assert root.parent_id is None
    assert root.trace_id != TRACE


def test_a_large_run_shows_its_first_documents_and_those_that_failed_and_counts_the_rest(ingest, receiver, folder):
    write(folder, **{f"d{number}": f"# Document {number}\n\nSomething." for number in range(8)})
    write(folder, x="# Bad\n\nPOISON.", y="# Worse\n\nPOISON.", z="# Worst\n\nPOISON.")
    assert ingest(faults={"max_documents": 2}).returncode == 1
    root = receiver.span("footnote.ingest")
    assert len(documents(receiver, outcome="added")) == 2
    assert (root.attributes["footnote.documents.added"], root.attributes["footnote.documents.without_span"]) == (8, 7)
    late = documents(receiver, outcome="failed")
    assert [span.attributes["error.type"] for span in late] == ["model-unavailable"] * 2  # as many, and no more
    assert [event.name for span in late for event in span.events] == ["exception"] * 2
    assert {span.parent_id for span in late} == {root.span_id}
    assert all(root.covers(span) for span in late)
    assert len(receiver.spans(name="footnote.ingest.parse")) == len(receiver.spans(name="footnote.ingest.write")) == 2
    counts = counted(receiver, "footnote.ingestion.documents", "footnote.outcome")
    assert counts == {"added": 8, "failed": 3}


def test_no_text_name_or_path_of_a_document_leaves_the_process(receiver, dsn, shared_dir, tmp_path):
    folder = tmp_path / f"{SECRET}-folder"
    folder.mkdir()
    hide(folder)
    refuse(dsn, source=f"{SECRET}-refused.md")
    given = ["--metadata", f"{SECRET}-key={SECRET}-value"]
    process = start(*given, dsn=dsn, data_dir=shared_dir, folder=folder, receiver=receiver)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert len(json.loads(out)["failed"]) == 2
    assert len(documents(receiver)) == 5
    assert receiver.metrics()
    assert SECRET not in receiver.text
    assert "wombat" not in receiver.text


def test_names_and_titles_are_told_where_the_operator_lets_content_in(ingest, receiver, folder):
    hide(folder)
    ingest(telemetry__content="full")
    told = {span.attributes["footnote.source"]: span.attributes.get("footnote.title") for span in documents(receiver)}
    assert set(told) == {str(path) for path in folder.iterdir() if path.suffix != f".{SECRET}"}
    assert told[str(folder / f"{SECRET}.md")] == f"Title {SECRET}"
    assert f"Text {SECRET}" not in receiver.text


async def upload(database, path):
    """Do what a request that uploads a file does: its bytes and a job, in the request's trace."""
    content_hash = hashlib.sha256(path.read_bytes()).hexdigest()
    documents = Documents(database, generation=await Collections(database).active("default"))
    await Originals(database).put(path, content_hash=content_hash)
    payload = IndexDocument(
        source=f"upload:{path.stem}",
        revision=await documents.next_revision(),
        content_hash=content_hash,
        name=path.name,
    )
    async with database.transaction() as connection:
        return await JobStore(database).submit(connection, NewJob(payload, collection="default", document_id=path.stem))


async def test_an_upload_is_one_trace_from_its_request_to_the_last_statement_of_a_worker(
    database, dsn, shared_dir, folder, receiver
):
    write(folder, guide="# Guide\n\nThe lighthouse was built in 1871.")
    add_collection(dsn, "default", embedding=identity())
    with spans.continued({"traceparent": CALLER}):
        job = await upload(database, folder / "guide.md")
    worker = command("worker", receiver=receiver, data_dir=shared_dir, database__url=dsn)
    done = await ended(database, job.id)
    worker.send_signal(signal.SIGTERM)
    _, err = await asyncio.to_thread(worker.communicate, timeout=60)
    assert (worker.returncode, done.status, done.result and done.result["chunks"]) == (0, "succeeded", 1), err
    span = receiver.span("footnote.job index-document")
    assert (span.trace_id, span.parent_id, span.kind) == (TRACE, PARENT, "consumer")
    assert (
        span.attributes.items()
        >= {
            "footnote.job.id": str(job.id),
            "footnote.job.kind": "index-document",
            "footnote.job.attempt": 1,
            "footnote.document.id": "guide",
            "footnote.collection": "default",
            "footnote.outcome": "succeeded",
            "footnote.chunks": 1,
        }.items()
    )
    tree = own_tree(receiver, TRACE)
    assert tree[0] == "footnote.job index-document"
    assert {"  footnote.ingest.document", "    footnote.ingest.parse", "    footnote.ingest.write"} <= set(tree)
    assert "  footnote.ingest.embed" in tree
    (written,) = receiver.spans(TRACE, name="footnote.ingest.write")
    assert any(each.parent_id == written.span_id and each.kind == "client" for each in receiver.spans(TRACE))


async def test_a_worker_s_metrics_say_what_became_of_jobs_and_lead_to_their_traces(
    database, dsn, shared_dir, folder, receiver
):
    write(folder, good="# Good\n\nIt is.", bad="# Bad\n\nPOISON.")
    add_collection(dsn, "default", embedding=identity())
    with spans.continued({"traceparent": CALLER}):
        jobs = [await upload(database, folder / f"{name}.md") for name in ("good", "bad")]
    settings = {"jobs__attempts": 2, "jobs__retry_pause": 0.01, "data_dir": shared_dir, "database__url": dsn}
    worker = command("worker", receiver=receiver, **settings)
    assert [(await ended(database, job.id)).status for job in jobs] == ["succeeded", "failed"]
    worker.send_signal(signal.SIGTERM)
    await asyncio.to_thread(worker.communicate, timeout=60)
    tries = receiver.points("footnote.ingestion.job.duration", {"footnote.job.kind": "index-document"})
    assert {point.attributes["footnote.outcome"]: point.count for point in tries} == {
        "succeeded": 1,
        "retried": 1,
        "failed": 1,
    }
    assert {exemplar.trace_id for point in tries for exemplar in point.exemplars} == {TRACE}
    (wait,) = receiver.points("footnote.ingestion.job.wait")
    assert wait.count == 2  # each once, whatever becomes of its tries
    assert counted(receiver, "footnote.ingestion.documents", "footnote.outcome") == {"added": 1, "failed": 2}
    failed = {s.attributes["footnote.outcome"]: s for s in receiver.spans(name="footnote.job index-document")}
    for outcome in ("retried", "failed"):
        assert (failed[outcome].status_code, failed[outcome].attributes["error.type"]) == ("error", "model-unavailable")


async def test_a_flip_is_in_the_trace_of_who_asked_for_it(dsn, shared_dir, receiver):
    add_collection(dsn, "default", embedding=identity())
    name = add_generation(dsn, "default", embedding=identity())
    settings = {"data_dir": shared_dir, "database__url": dsn}
    flipping = command("activate", "default", name, receiver=receiver, caller=CALLER, **settings)
    out, err = await asyncio.to_thread(flipping.communicate, timeout=60)
    assert flipping.returncode == 0, err
    assert "answers now" in out
    root = receiver.span("footnote.ingest")
    assert (root.trace_id, root.parent_id) == (TRACE, PARENT)
    assert receiver.spans(TRACE, name="UPDATE footnote.generations")


async def test_a_flip_takes_its_trace_to_the_servers_that_follow_it(dsn, shared_dir, receiver, database):
    add_collection(dsn, "default", embedding=identity())
    name = add_generation(dsn, "default", embedding=identity())
    told = asyncio.Queue()
    async with database.dedicated() as connection:
        await connection.add_listener("footnote_flips", lambda *notice: told.put_nowait(notice[-1]))
        settings = {"data_dir": shared_dir, "database__url": dsn}
        flipping = command("activate", "default", name, receiver=receiver, caller=CALLER, **settings)
        _, err = await asyncio.to_thread(flipping.communicate, timeout=60)
        collection, traceparent = (await asyncio.wait_for(told.get(), 10)).split()
    assert (collection, traceparent.split("-")[1]) == ("default", TRACE), err
    assert traceparent.split("-")[2] in {span.span_id for span in receiver.spans(TRACE)}


def identity():
    """Return the configured model's identity; no test here loads it."""
    return find_model(EmbeddingSettings()).identity(EmbeddingSettings())


def hide(folder):
    """Put the secret wherever people write."""
    matter = f"---\ntitle: Title {SECRET}\nauthor: {SECRET}\n{SECRET}: yes\n---\n"
    (folder / f"{SECRET}.md").write_text(f"{matter}\n# Heading {SECRET}\n\nText {SECRET}.")
    (folder / f"{SECRET}-bad.md").write_text(f"POISON {SECRET}")
    (folder / f"{SECRET}-refused.md").write_text(f"Refused {SECRET}")
    (folder / f"{SECRET}.json").write_text(f'{{"{SECRET}": ')
    (folder / f"{SECRET}.{SECRET}").write_text("of a kind without a reader")
    (folder / f"{SECRET}-front.md").write_text(f"---\na: [{SECRET}\n---\n")


def test_what_carries_a_trace_takes_it_to_another_process_and_from_there_to_the_command(
    receiver, dsn, shared_dir, folder
):
    """As a job would be handed on: the carrier as JSON, to a process that starts the command."""
    write(folder, a="# Alpha\n\nThe first.")
    settings = {"telemetry__endpoint": receiver.http_url, "data_dir": shared_dir, "database__url": dsn}
    done = subprocess.run(
        [sys.executable, "-c", JOB, sys.executable, PROGRAM, str(folder)],
        cwd=ROOT,
        env={**os.environ, **{f"FOOTNOTE_{name.upper()}": str(value) for name, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    request, job = receiver.span("request"), receiver.span("job")
    assert receiver.span("footnote.ingest").parent_id == job.span_id
    assert job.parent_id == request.span_id
    assert len({span.trace_id for span in receiver.spans()}) == 1
    assert len({span.resource["service.instance.id"] for span in receiver.spans()}) == 3


# who asks, the process that takes the job, and the command that it runs
JOB = """
import json, os, subprocess, sys
from config.telemetry import spans
from config.settings import load_settings
from config.telemetry.setup import open_telemetry

with open_telemetry(load_settings().telemetry, version="1"):
    if len(sys.argv) == 4:
        with spans.span("request"):
            script = open(f"/proc/{os.getpid()}/cmdline").read().split("\\0")[2]
            job = [sys.executable, "-c", script, *sys.argv[1:], json.dumps(spans.carrier())]
            sys.exit(subprocess.run(job).returncode)
    with spans.continued(json.loads(sys.argv[4])), spans.span("job"):
        environment = {**os.environ, **{name.upper(): value for name, value in spans.carrier().items()}}
        sys.exit(subprocess.run([sys.argv[1], "-c", sys.argv[2], "{}", sys.argv[3]], env=environment).returncode)
"""


def wait_for_line(process, beginning):
    for line in process.stderr:
        if line.startswith(beginning):
            return
    raise AssertionError(process.communicate())


def refuse(dsn, *, source):
    execute(
        dsn,
        f"""CREATE FUNCTION footnote.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN IF NEW.source = '{source}' THEN RAISE EXCEPTION '% quoted', NEW.source; END IF; RETURN NEW; END $$""",
    )
    execute(
        dsn,
        "CREATE TRIGGER refuse BEFORE INSERT ON footnote.documents FOR EACH ROW EXECUTE FUNCTION footnote.refuse()",
    )
