"""The programs themselves: embedded PostgreSQL, real models, ``python -m`` commands, HTTP."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from support.programs import Program, interpreter, run
from support.stack import until

from server.engines.models.local import missing

ROOT = Path(__file__).parents[3]
HAS_LOCAL_MODEL = missing() is None
LONE_WORKER = [
    "worker",
    "--fds",
    "99",
    "--pipe",
    "98",
    "--name",
    "a",
    "--number",
    "1",
    "--of",
    "1",
    "--folder",
    "/nowhere",
]
DOCUMENTS = {
    "lighthouse.md": "# The lighthouse\n\nThe lighthouse of Ostrava Bay was built in 1871 by the engineer "
    "Milada Novak.\n",
    "bread.html": "<html><title>Bread</title><nav>Home</nav><main><h1>Bread</h1><p>Sourdough rises for twelve hours "
    "before it is baked.</p></main></html>",
    "mail.eml": "From: a@example.org\nSubject: Vault\n\nThe access code of the vault is walrus-4711.\n",
}


def environment(data_dir, **settings):
    names = {f"FOOTNOTE_{name.upper()}": str(value) for name, value in settings.items()}
    return {**os.environ, "FOOTNOTE_DATA_DIR": str(data_dir), "FOOTNOTE_SERVER__PORT": "0", **names}


def command(*arguments, data_dir, **settings):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


class Server:
    """``python -m server`` until the block ends."""

    def __init__(self, data_dir, *, start=interpreter, **settings):
        self.lines = []
        pipe, same = subprocess.PIPE, subprocess.STDOUT
        self.process = start(
            ["-m", "server"], cwd=ROOT, env=environment(data_dir, **settings), stdout=pipe, stderr=same
        )
        self.url = ""
        for line in self.process.stdout:
            self.lines.append(line)
            if match := re.search(r"ready at (http://\S+)", line):
                self.url = match[1]
                break
        assert self.url, "".join(self.lines)
        threading.Thread(target=lambda: self.lines.extend(self.process.stdout), daemon=True).start()
        self.http = httpx.Client(base_url=self.url, timeout=120)

    def stop(self):
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def ask(self, question, **more):
        response = self.http.post("/query", json={"question": question, **more})
        assert response.status_code == 200, response.text
        return response.json()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def server(shared_dir, corpus):
    assert command("storage", "upgrade", data_dir=shared_dir).returncode == 0
    ingested = command("ingestion", str(corpus), "--base", str(corpus), "--json", data_dir=shared_dir)
    assert ingested.returncode == 0, ingested.stderr
    assert json.loads(ingested.stdout)["documents"]["added"] == len(DOCUMENTS)
    running = Server(shared_dir)
    yield running
    if running.process.poll() is None:
        running.stop()


def test_a_newcomer_s_question_is_answered_from_the_documents_with_a_right_citation(server):
    answer = server.ask("Who built the lighthouse of Ostrava Bay, and when?", k=3)
    assert answer["answer"].endswith("was built in 1871 by the engineer Milada Novak.” [1]")
    assert answer["finish_reason"] == "extractive"
    assert answer["citations"][0]["source"] == "lighthouse.md"
    assert "Milada Novak" in answer["citations"][0]["text"]
    assert (answer["collection"], answer["generation"]) == ("default", "1")
    assert answer["request_id"]
    start, end = answer["citations"][0]["start"], answer["citations"][0]["end"]
    assert DOCUMENTS["lighthouse.md"][start:end] == answer["citations"][0]["text"]


def test_a_newcomer_s_question_that_the_documents_do_not_answer_is_refused(server):
    answer = server.ask("How tall is Mount Kilimanjaro?")
    assert (answer["finish_reason"], answer["citations"]) == ("no_context", [])


@pytest.mark.soak
@pytest.mark.local_model
@pytest.mark.usefixtures("server")  # its database and documents
@pytest.mark.skipif(not HAS_LOCAL_MODEL, reason=str(missing()))
def test_the_local_model_is_supervised_by_its_server(shared_dir):
    own = Server(shared_dir, start=Program, llm__provider="local", llm__token_timeout=120, jobs__worker="never")
    until = time.monotonic() + 120
    while not (state := own.http.get("/ready").json()["dependencies"]["model"])["ok"]:
        assert time.monotonic() < until, state
        time.sleep(0.5)
    children = psutil.Process(own.process.pid).children(recursive=True)
    assert any("llama-server" in child.name() for child in children)
    assert "Milada Novak" in own.ask("Who built the lighthouse of Ostrava Bay, and when?", k=3)["answer"]
    assert own.stop() == 0
    assert psutil.wait_procs(children, timeout=20)[1] == []


def test_identifiers_titles_and_kinds_are_found(server):
    found = server.http.post("/retrieve", json={"question": "walrus-4711"}).json()
    assert found["results"][0]["source"] == "mail.eml"
    assert found["results"][0]["title"] == "Vault"
    bread = server.http.post("/retrieve", json={"question": "How long does sourdough rise?"}).json()["results"][0]
    assert bread["title"] == "Bread"
    assert "Home" not in bread["text"]


def test_the_stream_ends_as_the_contract_says(server):
    question = {"question": "Who built the lighthouse?", "k": 2}
    with server.http.stream("POST", "/query/stream", json=question) as response:
        body = "".join(response.iter_text())
    events = re.findall(r"^event: (\w+)$", body, re.MULTILINE)
    assert events[0] == "sources"
    assert events[-1] == "done"
    assert events.count("done") == 1
    assert body.rstrip().endswith("data: [DONE]")


def test_collections_and_documents_can_be_looked_at(server):
    (collection,) = [c for c in server.http.get("/collections").json()["items"] if c["name"] == "default"]
    assert collection["documents"] == len(DOCUMENTS)
    documents = server.http.get("/documents", params={"collection": "default"}).json()["items"]
    assert {document["source"] for document in documents} == set(DOCUMENTS)
    one = documents[0]
    assert server.http.get(f"/documents/{one['id']}").json() == one


@contextmanager
def barnacles(folder, shared_dir, files):
    """Ingest reports of barnacles beside the block; yields the process, which has to end well by its end."""
    for number in range(files):
        text = "\n\n".join(f"Paragraph {part} of file {number} talks of barnacles. " * 8 for part in range(6))
        (folder / f"{number}.md").write_text(f"# Barnacle report {number}\n\n{text}")
    arguments = ["-m", "ingestion", folder, "--collection", folder.name]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    with Program(arguments, env=environment(shared_dir), stdout=pipe, stderr=nowhere) as ingesting:
        yield ingesting
        ingesting.communicate()
    assert ingesting.returncode == 0


def test_ingesting_while_serving_shows_the_new_documents(server, shared_dir, tmp_path):
    folder = tmp_path / "barnacles"
    folder.mkdir()
    with barnacles(folder, shared_dir, 4) as ingesting:
        while ingesting.poll() is None:
            assert server.http.get("/health").status_code == 200
            time.sleep(0.05)
    answer = server.ask("What do the reports talk of?", collection="barnacles", k=1)
    assert answer["citations"][0]["title"].startswith("Barnacle report")


@pytest.mark.soak
def test_ingesting_while_serving_never_stalls_the_event_loop(server, shared_dir, tmp_path):
    """A stall of ours would show in each of three rounds; the machine's own noise hardly does."""
    folder = tmp_path / "many-barnacles"
    folder.mkdir()
    longest = []
    with barnacles(folder, shared_dir, 40) as ingesting:
        while ingesting.poll() is None:
            waits, until = [], time.monotonic() + 3
            while time.monotonic() < until and ingesting.poll() is None:
                began = time.monotonic()
                assert server.http.get("/health").status_code == 200
                waits.append(time.monotonic() - began)
                time.sleep(0.01)
            longest.append(max(waits, default=0))
    assert min(longest) < 0.05, longest


def test_hostile_requests_get_problems_and_harm_nothing(server):
    injection = {"filters": [{"key": "source", "value": "x' OR '1'='1", "operator": "=="}]}
    assert server.http.post("/retrieve", json={"question": "bread", "filters": injection}).json()["results"] == []
    for body, status in (
        ({"question": "x", "filters": {"filters": [{"key": "k", "value": "v", "operator": ">="}]}}, {200}),
        ({"question": "x", "filters": {"filters": [{"key": "k", "value": None, "operator": "=="}]}}, {400}),
        ({"question": "x", "mode": "'; DROP TABLE footnote.documents; --"}, {400, 422}),
        ({"question": "x", "collection": "nowhere"}, {404}),
        ({"question": "x", "document_ids": ["10", "1e1", str(2**53 + 1), "' OR 1=1"]}, {200}),
        ({"question": "{context_str} {{ }} %s \\ '"}, {200}),
    ):
        response = server.http.post("/retrieve", json=body)
        assert response.status_code in status, response.text
        if response.status_code >= 400:
            assert response.headers["content-type"] == "application/problem+json"
    assert server.http.get("/collections/default").json()["documents"] == len(DOCUMENTS)


def test_large_requests_on_one_connection_are_all_answered(server):
    body = {"question": "lighthouse", "document_ids": ["x" * 120] * 1000}
    assert {server.http.post("/retrieve", json=body).status_code for _ in range(30)} == {200}


def test_commands_that_cannot_start_say_so_in_one_line(shared_dir, tmp_path):
    hurried = {"database__connect_timeout": 1}
    for arguments, settings, expected in (
        (("server",), {"llm__provder": "x"}, "FOOTNOTE_LLM__PROVDER: no such setting; did you mean"),
        (("ingestion", "."), {"server__port": "99999"}, "FOOTNOTE_SERVER__PORT"),
        (("server",), {"server__workers": "0"}, "FOOTNOTE_SERVER__WORKERS"),
        (("server",), {"server__workers": "1000"}, "FOOTNOTE_SERVER__WORKERS"),
        (("server", *LONE_WORKER), {}, "cannot listen on what was inherited"),
        (("server",), {"database__url": "postgresql://nobody@127.0.0.1:9/x", **hurried}, "not available"),
        (("ingestion", "README.md", "--collection", "Not A Name"), {}, "no collection name"),
    ):
        done = run(["-m", *arguments], env=environment(shared_dir, **settings))
        assert done.returncode == 2, done
        assert expected in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
    fresh = run(["-m", "server"], env=environment(tmp_path))
    assert fresh.returncode == 2
    assert "python -m storage upgrade" in fresh.stderr


def test_a_taken_port_is_told_by_a_check_and_a_free_one_is_fine(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(["-m", "server", "check"], env=environment(tmp_path, server__port=port))
        assert done.returncode == 2
        assert f"cannot listen on 127.0.0.1:{port}: a program listens there, maybe a Footnote that runs" in done.stderr
    done = run(["-m", "server", "check"], env=environment(tmp_path, server__port=port))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("llm", "told"),
    [
        (
            {"LLM__BASE_URL": "http://me:sesame@127.0.0.1:9/v1?key=sesame"},
            "(at http://127.0.0.1:9/v1, FOOTNOTE_LLM__BASE_URL)",
        ),
        ({"LLM__MODEL": "gpt-99"}, "the server lists no model gpt-99; check FOOTNOTE_LLM__MODEL and"),
    ],
)
def test_a_model_that_cannot_answer_is_told_once_at_the_start_with_its_address_and_no_secret(
    stack, llm, told, tmp_path
):
    log = tmp_path / "log"
    with stack.process(LOG__FILE=str(log), SERVER__WORKERS="2", program=("-m", "server"), **llm) as process:
        warned = until(lambda: [line for line in lines_of(log) if line["level"] == "warning"])
        state = httpx.get(f"{process.url}/ready").json()["dependencies"]["model"]
        process.signal(signal.SIGTERM)
        said = process.popen.stdout.read()  # what `communicate` would leave out has been read ahead
    assert [(line["event"].startswith("the language model"), told in line["detail"]) for line in warned] == [
        (True, True)
    ]
    assert told in state["detail"]
    assert said.splitlines() == [f"Ctrl-C stops it. Its log is {log}", "Stopped."]
    assert "sesame" not in log.read_text()


def lines_of(log):
    return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_connections_are_refused_until_a_worker_can_answer(tmp_path):
    run(["-m", "storage", "upgrade"], env=environment(tmp_path), check=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = {"server__workers": 2, "server__port": port, "embedding__model": "/nowhere"}  # no worker ever can
    process = subprocess.Popen([sys.executable, "-m", "server"], env=environment(tmp_path, **settings), cwd=ROOT)
    tries = 0
    while process.poll() is None:
        tries += 1
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.02)
    assert process.returncode == 2
    assert tries > 10


def test_a_supervisor_that_is_killed_leaves_no_process_behind(tmp_path, shared_dir):
    (tmp_path / "models").symlink_to(shared_dir / "models")  # not exported once more
    run(["-m", "storage", "upgrade"], env=environment(tmp_path), check=True)
    server = Server(tmp_path, start=Program, llm__provider="extractive", server__workers=2)
    pid_file = tmp_path / "postgres" / "postmaster.pid"
    postmaster = psutil.Process(int(pid_file.read_text().splitlines()[0]))
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert len(children) >= 3  # two workers, and the one that ingests
    server.process.kill()
    assert not psutil.wait_procs([postmaster, *children], timeout=60)[1]
    assert not pid_file.exists()


def test_a_killed_postgresql_comes_back_under_the_running_server(tmp_path, shared_dir, corpus):
    (tmp_path / "models").symlink_to(shared_dir / "models")  # not exported once more
    run(["-m", "storage", "upgrade"], env=environment(tmp_path), check=True)
    run(["-m", "ingestion", corpus], env=environment(tmp_path), check=True)
    server = Server(tmp_path, start=Program, llm__provider="extractive")
    try:
        pid_file = tmp_path / "postgres" / "postmaster.pid"
        postmaster = int(pid_file.read_text().splitlines()[0])
        os.kill(postmaster, signal.SIGKILL)
        until, statuses = time.monotonic() + 60, []
        while time.monotonic() < until:
            response = server.http.post("/retrieve", json={"question": "lighthouse"})
            statuses.append(response.status_code)
            if response.status_code == 200 and len(statuses) > 1:
                break
            assert response.status_code in {200, 503}, response.text + "".join(server.lines[-20:])
            time.sleep(0.5)
        assert statuses[-1] == 200
        assert response.json()["results"]
    finally:
        assert server.stop() == 0
    assert not pid_file.exists()  # the last one that left stopped it


def test_sigterm_ends_the_server_cleanly_and_its_children_with_it(server):
    children = psutil.Process(server.process.pid).children(recursive=True)
    assert server.stop() == 0
    _, alive = psutil.wait_procs(children, timeout=20)
    assert [child for child in alive if child.status() != psutil.STATUS_ZOMBIE and "postgres" not in child.name()] == []
    assert not any("Traceback" in line for line in server.lines), "".join(server.lines)
