"""``python -m server`` as a process of its own; only the runtime under it is scripted."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from support.events import BODY, ending, parse, read_until
from support.programs import Program

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys, types
from contextlib import asynccontextmanager
sys.path.insert(0, {tests!r})
from support import scripted
from config.errors import FootnoteError

class Unusable(FootnoteError):
    pass

@asynccontextmanager
async def open_runtime(settings, *, telemetry, member):
    {opening}
    try:
        yield scripted.ScriptedRuntime(settings, scripted.ScriptedAnswers({script}))
    finally:
        print("runtime closed", flush=True)

sys.modules["server.runtime"] = types.SimpleNamespace(open_runtime=open_runtime)
from server.__main__ import main
sys.exit(main())
"""
HANG = "(scripted.SOURCES, scripted.Token('a'), scripted.Hang())"


def start(
    tmp_path: Path, *, opening: str = "pass", script: str = "scripted.HAPPY", **env: str
) -> subprocess.Popen[str]:
    program = PROGRAM.format(tests=str(ROOT / "tests"), opening=opening, script=script)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    environment = clean | {"PYTHONPATH": str(ROOT), "FOOTNOTE_SERVER__PORT": "0", "FOOTNOTE_SERVER__WORKERS": "1"} | env
    return Program(["-c", program], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@contextmanager
def started(tmp_path: Path, **options: str) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """Yield the process, its address and the line in which it says so."""
    process = start(tmp_path, **options)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Footnote is ready at http://127.0.0.1:"), line + process.communicate(timeout=10)[1]
        yield process, line.split()[4], line
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_it_says_where_it_is_and_what_to_try(tmp_path: Path) -> None:
    with started(tmp_path) as (process, url, line):
        example = line.partition("try: ")[2].strip()
        answer = subprocess.run(["sh", "-c", example], capture_output=True, text=True, timeout=20, check=False)
        assert httpx.get(url + "/health").headers.get("server") is None
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out == "runtime closed\nStopped.\n"
    assert '"answer":"Set the port [1]."' in answer.stdout or "not found" in answer.stderr  # where there is no curl
    assert "Traceback" not in err
    (told,) = (line for line in map(json.loads, err.splitlines()) if line["event"] == "stopping")
    assert told["signal"] == "SIGTERM"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_that_runs_is_finished_before_the_end(tmp_path: Path, number: signal.Signals) -> None:
    script = "(scripted.SOURCES, scripted.Token('a'), 1.0, scripted.Token('b'), scripted.DONE)"
    with started(tmp_path, script=script) as (process, url, _):
        with httpx.stream("POST", url + "/query/stream", json=BODY) as response:
            text = ""
            for piece in response.iter_text():
                if not text:
                    process.send_signal(number)
                text += piece
        assert process.wait(20) == 0
    assert ending(parse(text)).name == "done"


def test_what_has_not_ended_in_time_is_told_so(tmp_path: Path) -> None:
    with started(tmp_path, script=HANG, FOOTNOTE_SERVER__SHUTDOWN_TIMEOUT="0.5") as (process, url, _):
        with httpx.stream("POST", url + "/query/stream", json=BODY) as response:
            text = ""
            for piece in response.iter_text():
                if not text:
                    process.send_signal(signal.SIGTERM)
                text += piece
        out, err = process.communicate(timeout=20)
    last = ending(parse(text))
    assert (last.name, last.data["type"], last.data["retryable"]) == ("error", "/problems/overloaded", True)
    assert process.returncode == 0, err
    assert "runtime closed" in out
    assert "Traceback" not in err


def test_a_plain_request_that_has_not_ended_in_time_is_a_503(tmp_path: Path) -> None:
    with started(tmp_path, script=HANG, FOOTNOTE_SERVER__SHUTDOWN_TIMEOUT="0.5") as (process, url, _):
        port = int(url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
            body = b'{"question":"q"}'
            sock.sendall(
                b"POST /query HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 16\r\n\r\n" + body
            )
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))  # head and body may come apart
        assert process.wait(20) == 0
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"/problems/overloaded" in answer


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with (
        started(tmp_path, script=HANG, FOOTNOTE_SERVER__SHUTDOWN_TIMEOUT="600") as (process, url, _),
        httpx.stream("POST", url + "/query/stream", json=BODY) as response,
    ):
        _rest = read_until(response, "event: sources")
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert "runtime closed" in out


def test_a_signal_while_it_starts_ends_it_cleanly(tmp_path: Path) -> None:
    process = start(tmp_path, opening="print('opening', flush=True); await asyncio.sleep(60)")
    assert process.stdout is not None
    assert process.stdout.readline() == "opening\n"
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"FOOTNOTE_SERVER__PROT": "1"}, "FOOTNOTE_SERVER__PORT"),
        ({"FOOTNOTE_SERVER__PORT": "ninety"}, "FOOTNOTE_SERVER__PORT"),
        ({"FOOTNOTE_SERVER__HOST": "192.0.2.1"}, "FOOTNOTE_SERVER__HOST"),
        ({"FOOTNOTE_SERVER__HOST": "no.such.host.invalid"}, "FOOTNOTE_SERVER__HOST"),
        ({"opening": "raise Unusable('the schema is old: run this')"}, "the schema is old"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line_and_exit_code_2(
    tmp_path: Path, options: dict[str, str], words: str
) -> None:
    process = start(tmp_path, **options)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert out == ""
    (said,) = [line for line in err.splitlines() if not line.startswith("{")]  # the log tells how far it came
    assert said.startswith("footnote: ")
    assert words in said


def test_a_taken_port_is_told_before_anything_is_loaded(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        process = start(tmp_path, opening="print('loading', flush=True)", FOOTNOTE_SERVER__PORT=port)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert out == ""
    assert f"127.0.0.1:{port}" in err
