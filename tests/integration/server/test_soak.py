"""Everything at once: servers, workers, uploads, deletions, flips, chats; and a checker that knows the truth."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import psycopg2
import pytest
from support.model_server import Reply
from support.programs import Program
from support.stack import PATIENCE, ROOT, Stack, until

STEADY, PASSING = "steady", "passing"
WRITERS = 3
DOCUMENTS = 6  # of each writer
HELD = 9.0  # seconds that a slow writer takes
INGESTION = """
import sys
import numpy as np
import ingestion.pipeline.factory
from embedding.cache import Embedders

class OneVector:
    width = 1

    def __init__(self, identity):
        self.identity = identity

    async def texts(self, texts):
        return np.eye(1, self.identity.dimension, dtype=np.float32).repeat(len(texts), axis=0)

class OneVectors(Embedders):
    async def of(self, identity):
        return OneVector(identity)

ingestion.pipeline.factory.Embedders = OneVectors
from ingestion.__main__ import main
sys.exit(main())
"""
FAST = {
    "DATABASE__STATEMENT_TIMEOUT": "5",
    "GENERATIONS__KEEP": "0",
    "GENERATIONS__MIN_KEEP_SECONDS": "0",
    "INGESTION__INDEX_CHUNKS": "40",
    "INGESTION__NICE": "0",
    "JOBS__RETRY_PAUSE": "0.2",
    "JOBS__ATTEMPTS": "20",
}


@dataclass
class Site:
    """The servers, and what went wrong.

    Attributes:
        urls: of the servers, which share a database.
        faults: what no client should see.
        done: how often each thing was done.

    """

    stack: Stack
    urls: tuple[str, ...]
    stopped: threading.Event = field(default_factory=threading.Event)
    faults: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def clients(self) -> Iterator[list[httpx.Client]]:
        """Open a client of each server; each response is looked at."""
        with contextlib.ExitStack() as stack:
            hooks = {"response": [self._look]}
            yield [
                stack.enter_context(httpx.Client(base_url=url, timeout=PATIENCE, event_hooks=hooks))
                for url in self.urls
            ]

    def require(self, condition: object, what: str) -> None:
        """Note a fault unless the condition holds."""
        if not condition:
            self.faults.append(what)

    def _look(self, response: httpx.Response) -> None:
        if response.status_code >= 500:
            response.read()
            asked = f"{response.request.method} {response.request.url.path}"
            self.faults.append(f"{asked}: {response.status_code} {response.text[:300]}")


@dataclass
class Writer:
    """Uploads, replaces and deletes documents of its own, one operation at a time.

    Attributes:
        words: of the version that should answer, by the document's id; None where it should be gone.
        turn: held during an operation, and by whoever wants none to run.

    """

    site: Site
    number: int
    seed: int
    words: dict[str, str | None] = field(default_factory=dict)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Do so until the site is stopped."""
        rng = random.Random(self.seed)  # noqa: S311 (a test)
        with self.site.clients() as clients:
            while not self.site.stopped.is_set():
                with self.turn:
                    self._step(rng, clients)
                time.sleep(0.01)  # or nobody else gets the turn

    def _step(self, rng: random.Random, clients: list[httpx.Client]) -> None:
        here = rng.choice(clients)
        document_id = f"w{self.number}-{rng.randrange(DOCUMENTS)}"
        before = self.words.get(document_id)
        if rng.random() < 0.3:
            self._delete(document_id, here, clients)
            return
        jobs = []
        for _ in range(rng.choice((1, 1, 2))):
            word = f"zq{uuid4().hex}"
            jobs.append(upload(here, STEADY, document_id, word, paragraphs=rng.choice((1, 1, 30))))
            if jobs[-1] is None:
                self.site.faults.append(f"{document_id} was not accepted")
                return
            self.words[document_id] = word
        if rng.random() < 0.3:  # while it is on its way
            time.sleep(rng.random() / 5)
            self._delete(document_id, here, clients)
            return
        last = ended(here, str(jobs[-1]))
        self.site.require(last["status"] == "succeeded", f"{document_id}: {last['status']} {last['error']}")
        self.site.done["written"] += 1
        for client in clients:
            self.site.require(client.get(path(document_id)).status_code == 200, f"{document_id} is missing")
            self.site.require(  # a server may be a moment behind a flip
                eventually(lambda client=client: found(client, word) == {document_id}), f"{document_id} is not found"
            )
            if before is not None:
                self.site.require(
                    eventually(lambda client=client: found(client, before) == set()), f"{document_id} is found twice"
                )

    def _delete(self, document_id: str, here: httpx.Client, clients: list[httpx.Client]) -> None:
        word = self.words.get(document_id)
        response = here.delete(path(document_id))
        self.site.require(
            response.status_code == (404 if word is None else 204), f"DELETE {document_id}: {response.status_code}"
        )
        self.words[document_id] = None
        self.site.done["deleted"] += 1
        for client in clients:
            self.site.require(client.get(path(document_id)).status_code == 404, f"{document_id} is shown after its 204")
            if word is not None:
                self.site.require(found(client, word) == set(), f"{document_id} is found after its 204")


def path(document_id: str) -> str:
    return f"/documents/{document_id}?collection={STEADY}"


def upload(http: httpx.Client, collection: str, document_id: str, word: str, *, paragraphs: int = 1) -> str | None:
    """Upload a document that says a word; return its job, None where it was refused."""
    text = f"# {document_id}\n\nThe word is {word}.\n" + "\n\nThis is said besides, and at some length. " * paragraphs
    form = {"collection": collection, "document_id": document_id, "source": f"{document_id}.md"}
    response = http.post("/documents", files={"file": (f"{document_id}.md", text.encode())}, data=form)
    return str(response.json()["job_id"]) if response.status_code == 202 else None


def ended(http: httpx.Client, job_id: str) -> dict[str, object]:
    """Wait for a job's end; return it."""

    def look() -> dict[str, object] | None:
        time.sleep(0.03)
        job: dict[str, object] = http.get(f"/jobs/{job_id}").json()
        return job if job["status"] in {"succeeded", "failed", "cancelled"} else None

    return dict(until(look))


def found(http: httpx.Client, word: str, collection: str = STEADY) -> set[str] | None:
    """Return the documents that a word finds; None where there is no such collection."""
    body = {"question": word, "collection": collection, "mode": "keyword", "min_score": 0}
    response = http.post("/retrieve", json=body)
    if response.status_code != 200:
        return None
    return {each["document_id"] for each in response.json()["results"] if word in each["text"]}


def eventually(look: Callable[[], bool]) -> bool:
    """Tell whether something comes true."""
    try:
        until(lambda: look() or time.sleep(0.05))
    except AssertionError:
        return False
    return True


def pass_by(site: Site) -> None:
    """Make a collection, fill it, delete it while it is being written; again under the same name."""
    rng = random.Random(7)  # noqa: S311 (a test)
    with site.clients() as clients:
        while not site.stopped.is_set():
            here, there = rng.sample(clients, 2)
            made = here.post("/collections", json={"name": PASSING})
            site.require(made.status_code == 201, f"POST /collections: {made.status_code} {made.text}")
            words = {f"p{number}": f"zq{uuid4().hex}" for number in range(4)}
            jobs = [upload(rng.choice(clients), PASSING, name, word, paragraphs=20) for name, word in words.items()]
            site.require(all(jobs), "an upload into a new collection was refused")
            if rng.random() < 0.5:
                job = ended(here, str(jobs[0]))
                site.require(job["status"] == "succeeded", f"p0: {job['status']} {job['error']}")
                site.require(
                    eventually(lambda there=there, word=words["p0"]: found(there, word, PASSING) == {"p0"}),
                    "p0 is lost",
                )
            time.sleep(rng.random() / 2)
            if rng.random() < 0.5:
                site.require(here.delete(f"/documents/p1?collection={PASSING}").status_code == 204, "p1 is not there")
            gone = there.delete(f"/collections/{PASSING}")
            site.require(gone.status_code == 204, f"DELETE /collections: {gone.status_code}")
            for client in clients:
                site.require(client.get(f"/collections/{PASSING}").status_code == 404, "a deleted collection is shown")
                site.require(found(client, words["p0"], PASSING) is None, "a deleted collection answers")
            site.done["collections"] += 1


def talk(site: Site) -> None:
    """Chat in the steady collection, and ask in the one that comes and goes."""
    with site.clients() as clients:
        conversation = None
        while not site.stopped.is_set():
            for client in clients:
                body = {"message": "Which word is said?", "conversation_id": conversation, "collection": STEADY}
                headers = {"Idempotency-Key": uuid4().hex}
                answer = client.post("/chat", json=body, headers=headers)
                site.require(answer.status_code == 200, f"/chat: {answer.status_code} {answer.text[:200]}")
                conversation = answer.json()["conversation_id"] if answer.status_code == 200 else None
                asked = client.post("/query", json={"question": "Which word is said?", "collection": PASSING})
                site.require(asked.status_code in {200, 404}, f"/query: {asked.status_code} {asked.text[:200]}")
                site.done["asked"] += 2
            if conversation and site.done["asked"] % 40 == 0:
                clients[0].delete(f"/conversations/{conversation}").raise_for_status()
                conversation = None


def flip(site: Site, writers: list[Writer], run: Callable[..., Program]) -> None:
    """Re-index, go back, prune."""
    with site.clients() as (http, _):
        while not site.stopped.is_set():
            process = run("--reindex", "--collection", STEADY, "--json")
            output, errors = process.communicate(timeout=240)
            site.require(process.returncode == 0, f"--reindex: {process.returncode} {output[-600:]} {errors[-600:]}")
            site.done["reindexed"] += process.returncode == 0
            generations = http.get(f"/collections/{STEADY}/generations").json()["items"]
            before = [each["name"] for each in generations if each["state"] == "retired"]
            if before:  # what was written since is there again when the job has ended, and not before
                with contextlib.ExitStack() as stack:
                    for writer in writers:
                        stack.enter_context(writer.turn)
                    back = http.post(f"/collections/{STEADY}/activate", json={"generation": before[0]})
                    site.require(back.status_code == 200, f"/activate: {back.status_code} {back.text}")
                    job = ended(http, back.json()["job_id"])
                    site.require(job["status"] == "succeeded", f"catch-up: {job}")
            process = run("prune", STEADY)
            output, errors = process.communicate(timeout=240)
            site.require(process.returncode == 0, f"prune: {output[-300:]} {errors[-600:]}")


def hold(site: Site) -> None:
    """Be a writer whose large document takes longer to write than a statement may."""
    while not site.stopped.is_set():
        connection = psycopg2.connect(site.stack.dsn)
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(
                "SELECT g.id FROM footnote.generations g JOIN footnote.collections c ON c.id = g.collection_id "
                "WHERE c.name = %s AND g.state = 'active' FOR KEY SHARE OF g",
                [STEADY],
            )
            ((generation,),) = cursor.fetchall()
            cursor.execute(
                """INSERT INTO footnote.documents (tenant_id, generation_id, id, source, title, metadata, content_hash,
                       pipeline_fingerprint, bytes, chunks)
                   VALUES ('public', %s, 'held', 'held', 'held', '{}', 'h', 'p', 1, 1)""",
                [generation],
            )
            cursor.execute(f"LOCK TABLE footnote.data_generation_{generation} IN ROW EXCLUSIVE MODE")
            site.stopped.wait(HELD)
            site.done["held"] += 1


def check_documents(site: Site, writers: list[Writer]) -> None:
    """Compare what there is with what should be."""
    expected = {name: word for writer in writers for name, word in writer.words.items() if word is not None}
    with site.clients() as clients:
        for client in clients:
            page = client.get("/documents", params={"collection": STEADY, "limit": 100}).json()
            listed = [item["id"] for item in page["items"]]
            site.require(sorted(listed) == sorted(expected), f"{sorted(listed)} are there, not {sorted(expected)}")
            for name, word in expected.items():
                site.require(
                    eventually(lambda client=client, name=name, word=word: found(client, word) == {name}),
                    f"{name} is lost",
                )
                content = client.get(f"/documents/{name}/content", params={"collection": STEADY})
                site.require(word in content.text, f"{name} has other bytes")


def check_rows(stack: Stack) -> list[str]:
    """Return what is wrong in the tables when everything has ended."""
    wrong = []
    tables = stack.rows(
        "SELECT substring(tablename from 17)::int FROM pg_tables WHERE tablename LIKE 'data_generation_%%'"
    )
    generations = stack.rows("SELECT id FROM footnote.generations WHERE state <> 'dropped'")
    if sorted(tables) != sorted(generations):
        wrong.append(f"tables {tables}, generations {generations}")
    for (generation,) in generations:
        wrong += [
            f"{row}: chunks of a document in generation {generation} are not what its row says"
            for row in stack.rows(
                f"""SELECT d.id, d.chunks, c.document_id, count(c.id) FROM footnote.data_generation_{generation} c
                    FULL JOIN (SELECT * FROM footnote.documents WHERE generation_id = {generation}) d
                        ON d.id = c.document_id
                    GROUP BY 1, 2, 3 HAVING d.chunks IS DISTINCT FROM count(c.id)"""
            )
        ]
    leftovers = {
        "leases": "SELECT name FROM footnote.leases",
        "advisory locks": "SELECT objid FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
        "WHERE locktype = 'advisory' AND datname = current_database()",
        "jobs": "SELECT id, status FROM footnote.jobs WHERE status IN ('queued', 'running')",
        "turns": "SELECT number FROM footnote.turns WHERE state = 'running'",
        "collections": "SELECT id FROM footnote.collections WHERE deleted_at IS NOT NULL",
    }
    return wrong + [f"{name} left: {rows}" for name, query in leftovers.items() if (rows := stack.rows(query))]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seconds", [6, pytest.param(600, marks=pytest.mark.soak)])
def test_nothing_is_lost_doubled_or_left_behind_where_everything_happens_at_once(stack, seconds, tmp_path):
    stack.fresh(default=Reply("It is said [1]."))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    environment |= {"PYTHONPATH": str(ROOT), "FOOTNOTE_DATABASE__URL": stack.dsn}
    environment |= {"FOOTNOTE_DATA_DIR": str(stack.data_dir)} | {
        f"FOOTNOTE_{name}": each for name, each in FAST.items()
    }
    log = (tmp_path / "ingestion.log").open("w+")

    def run(*arguments: str, **streams: object) -> Program:
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
        return Program(["-c", INGESTION, *arguments], env=environment, cwd=tmp_path, **given)

    with contextlib.ExitStack() as processes:
        servers = [processes.enter_context(stack.process(**FAST)) for _ in range(2)]
        workers = [run("worker", stdout=log, stderr=log) for _ in range(2)]
        for worker in workers:
            processes.callback(worker.kill)
        site = Site(stack, tuple(server.url for server in servers))
        httpx.post(f"{site.urls[0]}/collections", json={"name": STEADY}, timeout=PATIENCE).raise_for_status()
        seed = random.randrange(1 << 30)  # noqa: S311 (a test)
        writers = [Writer(site, number, seed + number) for number in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS + 4) as pool:
            acting = [pool.submit(writer.run) for writer in writers]
            acting += [pool.submit(act, site) for act in (pass_by, talk, hold)] + [
                pool.submit(flip, site, writers, run)
            ]
            end = time.monotonic() + seconds
            while time.monotonic() < end and not any(each.done() for each in acting):
                time.sleep(0.1)
            site.stopped.set()
        for each in acting:
            each.result()
        idle = "SELECT 1 FROM footnote.jobs WHERE status IN ('queued', 'running')"
        until(lambda: not stack.rows(idle), seconds=3 * PATIENCE)
        check_documents(site, writers)
        until(lambda: not stack.rows("SELECT 1 FROM footnote.collections WHERE deleted_at IS NOT NULL"))
        for process in [*(server.popen for server in servers), *workers]:
            process.terminate()
        logs = [server.ended()[1] for server in servers]
        for worker in workers:
            assert worker.wait(timeout=2 * PATIENCE) == 0
    log.seek(0)
    told = "".join([*logs, log.read()])
    assert not site.faults, (seed, site.faults[:10], [line for line in told.splitlines() if "error" in line][-20:])
    assert check_rows(stack) == []
    assert "Traceback" not in told, told[told.index("Traceback") :][:3000]
    assert all(site.done[name] for name in ("written", "deleted", "collections", "asked", "reindexed", "held")), (
        site.done
    )
    print(dict(site.done))  # noqa: T201 (with pytest -s: how much was done)
