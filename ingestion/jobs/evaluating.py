"""The job that runs ``python -m evaluation``, in a process of its own and as whoever submitted it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from config.extras import require_extra
from ingestion.errors import EvaluationFailed
from relevance.golden import GoldenQuestion
from relevance.lines import parse_question
from storage.caller import Caller, acting_as, current_tenant
from storage.conflicts import rerun_on_conflict
from storage.errors import NothingToEvaluate
from storage.jobs.payloads import Evaluate
from storage.quality.evaluations import Evaluation, EvaluationStore, Found
from storage.quality.golden import GoldenInfo, GoldenStore
from storage.reach import reaching

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from ingestion.jobs.retries import Progress
    from storage.database import Database
    from storage.jobs.jobs import Job

COMMAND = (sys.executable, "-m", "evaluation", "run")
DONE, SOME_FAILED = 0, 1
"""Its exit codes where it has a result."""

WITHOUT_MODEL = frozenset({"hybrid", "vector", "keyword", "window", "auto_merging"})
"""Engines that search without a language model."""

MAX_RESULT_BYTES = 64_000_000
LAST_WORDS = 5.0  # seconds in which a process that was told to end can do so
_PROGRESS = re.compile(r"^progress (\d+) (\d+)$")
_log = structlog.get_logger(__name__)


async def evaluate(job: Job, progress: Progress, *, database: Database) -> Mapping[str, object]:
    """Ask a collection's golden questions, and keep what was found.

    Raises:
        ExtraMissing: the extra `evaluation` is not installed.
        EvaluationFailed: the program failed; the message is its own.
        NothingToEvaluate: the golden questions are gone.

    """
    payload = Evaluate.of(job.arguments)
    require_extra("evaluation", purpose="an evaluation")
    identity = Caller(job.tenant, job.subject, tuple(payload.groups), sees_all=payload.sees_all)
    store = EvaluationStore(database)
    reach = None if payload.collections is None else frozenset(payload.collections)
    with acting_as(identity), reaching(reach):
        wanted = await store.wanted(payload.evaluation)
        if wanted is None:
            return {"outcome": "deleted"}
        golden = await GoldenStore(database).every(wanted.collection)
        if not golden:
            raise NothingToEvaluate(wanted.collection)
        with tempfile.TemporaryDirectory(prefix="footnote-") as name:
            found = await _run(Path(name), wanted, golden, payload, progress)
        await _finished(payload.evaluation, found, progress, database=database)
    return {"outcome": "evaluated"}


@rerun_on_conflict
async def _finished(evaluation: str, found: Found, progress: Progress, *, database: Database) -> None:
    async with database.transaction() as connection:
        await progress.confirm(connection)
        await EvaluationStore(database).finish(connection, evaluation, found)


async def _run(
    folder: Path, wanted: Evaluation, golden: Sequence[GoldenInfo], payload: Evaluate, progress: Progress
) -> Found:
    questions, caller = folder / "golden.jsonl", folder / "caller.json"
    result, report = folder / "result.json", folder / "report.html"
    await asyncio.to_thread(questions.write_text, lines_of(golden), "utf-8")
    told = {
        "tenant": current_tenant(),
        "subject": wanted.subject,
        "groups": list(payload.groups),
        "sees_all": payload.sees_all,
        "collections": payload.collections,
    }
    await asyncio.to_thread(caller.write_text, json.dumps(told), "utf-8")
    options = wanted.options
    command = [*COMMAND, str(questions), "--collection", wanted.collection, "--engine", ",".join(options.engines)]
    command += ["--k", str(options.k), "--json", str(result), "--html", str(report), "--caller", str(caller)]
    command += ["--progress", *(["--judge"] if options.judge else _without_model(options.engines))]
    await _ended(command, progress)
    if (await asyncio.to_thread(result.stat)).st_size > MAX_RESULT_BYTES:
        msg = f"its result is larger than {MAX_RESULT_BYTES} bytes; ask fewer questions, or of fewer engines"
        raise EvaluationFailed(msg)
    text = await asyncio.to_thread(result.read_text, "utf-8")
    return _found(text, await asyncio.to_thread(report.read_text, "utf-8"))


def lines_of(golden: Sequence[GoldenInfo]) -> str:
    """Return golden questions as a file that `relevance.reading` takes: of several with one id, the first keeps it."""
    seen: set[str] = set()
    lines = []
    for each in golden:
        members = dict(each.members)
        if members.get("id") in seen:
            del members["id"]
        question: GoldenQuestion = parse_question(members)
        if question.key in seen:
            continue
        seen.add(question.key)
        lines.append(question.json_line() + "\n")
    return "".join(lines)


async def _ended(command: Sequence[str], progress: Progress) -> None:
    """Run the program to its end, and end it where the job is cancelled."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    last = ""
    try:
        assert process.stderr is not None  # noqa: S101 (it is a pipe)
        async for raw in process.stderr:
            line = raw.decode(errors="replace").strip()
            if counted := _PROGRESS.match(line):
                progress.tell(int(counted[1]), total=int(counted[2]))
            elif line:
                last = line
        code = await process.wait()
    finally:
        await asyncio.shield(_killed(process))
    if code not in {DONE, SOME_FAILED}:
        _log.warning("an evaluation failed", status=code, reason=last)
        raise EvaluationFailed(last.removeprefix("error: ") or f"the program ended with status {code}")


async def _killed(process: Process) -> None:
    """End the program with all that it has started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), LAST_WORDS)


def _without_model(engines: Sequence[str]) -> list[str]:
    """Return what keeps the program from starting a language model that no engine asks."""
    plain = all(engine.split("+")[0] in WITHOUT_MODEL and "rerank" not in engine for engine in engines)
    return ["--set", "llm.provider=extractive"] if plain else []


def _found(result: str, report: str) -> Found:
    told: dict[str, Any] = json.loads(result)
    documents = {each["document_id"] for engine in told["engines"] for q in engine["questions"] for each in q["found"]}
    summary = [
        {
            "engine": engine["engine"],
            "generation": engine["generation"],
            "failed": engine["failed"],
            "metrics": {
                level: {name: figure["mean"] for name, figure in figures.items()}
                for level, figures in engine["metrics"].items()
            },
            "latency_ms": engine["latency_ms"],
            "judged": {name: figure["mean"] for name, figure in engine["judged"].items()},
            "no_answer": engine["no_answer"],
        }
        for engine in told["engines"]
    ]
    return Found(summary=summary, result=result, report=report, documents=sorted(documents - {""}))
