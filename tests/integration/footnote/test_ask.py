"""``footnote ask`` as a person types it, against a real server whose model is scripted."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import pytest
from support.databases import in_database
from support.indexed import index
from support.model_server import Reply
from support.programs import ROOT, interpreter

from config.settings import ServerSettings
from footnote.ask import own_url
from footnote.printing import QUOTED, around

ASKED = "Who built the lighthouse of Ostrava Bay?"
OK = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: %s\r\n\r\n"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\u202etxt"


@pytest.fixture(autouse=True)
def _fresh(stack):
    stack.fresh(default=Reply("Monks built it [1]."))


def ask(*arguments, cwd=None, **env):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    done = subprocess.run(
        [sys.executable, "-m", "footnote", "ask", *arguments],
        env=clean | {"PYTHONPATH": str(ROOT)} | env,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def http(stack):
    with stack.serve() as served:
        yield served


@pytest.fixture
def url(http):
    return str(http.base_url)


def test_the_answer_is_printed_with_its_footnotes(url):
    code, out, err = ask(*ASKED.split(), "--url", url)
    answer, _, footnotes = out.partition("\n\n")
    assert (code, err, answer) == (0, "", "Monks built it [1].")
    number, quoted = footnotes.splitlines()[:2]
    assert number.startswith("[1] ")
    assert number.endswith(".md")
    assert quoted.startswith("    ")
    assert "\x1b" not in out


def test_json_is_the_servers_whole_answer(url):
    code, out, _ = ask(ASKED, "--url", url, "--json", "-k", "2", "--mode", "vector")
    answer = json.loads(out)
    assert (code, answer["answer"], answer["citations"][0]["cited"]) == (0, "Monks built it [1].", True)


def test_what_documents_and_models_write_commands_no_terminal(stack, embedder, url):
    name = f"evil{ESCAPES}.md"
    in_database(
        stack.dsn, lambda database: index(database, embedder, {name: f"The evil lighthouse {ESCAPES}."}, "evil")
    )
    stack.fresh(default=Reply(f"An evil one {ESCAPES} [1]."))
    code, out, _ = ask("Which lighthouse is evil?", "--url", url, "--collection", "evil", TERM="xterm")
    assert code == 0
    assert "An evil one" in out
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--collection", "nowhere"], 1, "nowhere"),
        (["--mode", "telepathy"], 1, "mode"),
        (["--filters", "{"], 2, "--filters is no JSON"),
        (["-k", "0"], 1, "k"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(url, arguments, code, told):
    found, out, err = ask(ASKED, "--url", url, *arguments)
    assert (found, out, err.count("\n")) == (code, "", 1)
    assert told in err


def test_an_error_within_the_answer_comes_after_what_was_written(stack, url):
    stack.fresh(default=Reply("one two three", fault="cut"))
    code, out, err = ask(ASKED, "--url", url)
    assert (code, out.startswith("one")) == (1, True)
    assert err.startswith("footnote: ")


def test_nobody_there_is_said_with_how_to_start_a_server():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    code, out, err = ask(ASKED, FOOTNOTE_URL=f"127.0.0.1:{port}")
    assert (code, out) == (2, "")
    assert f"nothing answers at http://127.0.0.1:{port}" in err
    assert "python -m server" in err


def test_without_an_address_the_server_of_these_settings_is_asked(url, tmp_path):
    port = url.rpartition(":")[2].strip("/")
    (tmp_path / ".env").write_text(f"FOOTNOTE_SERVER__HOST=0.0.0.0\nFOOTNOTE_SERVER__PORT={port}\n")
    assert ask(ASKED, FOOTNOTE_SERVER__PORT=port)[::2] == (0, "")
    assert ask(ASKED, cwd=tmp_path)[::2] == (0, "")
    assert ask(ASKED, FOOTNOTE_SERVER__PORT="1", FOOTNOTE_URL=url)[::2] == (0, "")
    code, _, err = ask(ASKED, FOOTNOTE_SERVER__PORT="x")
    assert (code, err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, f"http://{ServerSettings().host}:{ServerSettings().port}"),
        ({"HOST": "::", "PORT": "9000"}, "http://[::1]:9000"),
        ({"HOST": "docs.example"}, "http://docs.example:8000"),
    ],
)
def test_the_own_address_is_the_servers(monkeypatch, tmp_path, given, address):
    monkeypatch.chdir(tmp_path)
    for name in ("HOST", "PORT"):
        monkeypatch.setenv(f"FOOTNOTE_SERVER__{name}", given.get(name, ""))
    assert own_url() == address


@contextmanager
def answering(data: bytes):
    """Serve one connection with some bytes that are none of Footnote's."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            connection.recv(65536)
            connection.sendall(data)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(30)


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", 2, "is the address right?"),
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: token\ndata: {}\n\n", 1, "cut off"),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: [1]\n\nevent: done\ndata: 7\n\n",
            1,
            "cut off",
        ),
        (b"nonsense\r\n\r\n", 2, "nothing answers"),
    ],
)
def test_servers_that_are_no_footnote_are_told_apart(answer, code, told):
    with answering(answer) as url:
        found, _, err = ask(ASKED, "--url", url)
    assert (found, told in err) == (code, True), err


def test_a_key_is_taken_from_the_environment_and_its_lack_is_said(stack):
    with stack.serve(auth={"mode": "required", "bootstrap_key": "k" * 40}) as served:
        code, _, err = ask(ASKED, "--url", str(served.base_url))
    assert (code, "FOOTNOTE_API_KEY" in err) == (1, True)


def test_ctrl_c_ends_it(stack, url):
    stack.fresh(default=Reply("one two three", fault="hang-between"))
    process = interpreter(
        ["-m", "footnote", "ask", ASKED, "--url", url],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.read(3) == "one"
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_the_question_may_come_by_standard_input(url):
    done = subprocess.run(
        [sys.executable, "-m", "footnote", "ask", "-", "--url", url],
        input=ASKED,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout.startswith("Monks built it [1].")) == (0, True)


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completions_know_the_commands_and_their_options(shell):
    done = subprocess.run(
        [sys.executable, "-m", "footnote", "completion", shell],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("ask", "ingest", "collection", "reindex", "storage"))


def test_a_footnote_shows_what_is_quoted_wherever_it_stands_in_the_passage():
    passage = "The beginning. " + "word " * 100 + "The port is 8000. " + "more " * 100
    shown = around(passage, "The port is 8000.")
    assert shown.startswith("… The port is 8000. more")
    assert shown.endswith(" …")
    assert len(shown) <= QUOTED + 4
    for quoted in ("", "The beginning.", "is not there"):
        assert around(passage, quoted).startswith("The beginning. word")
