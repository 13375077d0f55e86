"""``python -m server mcp`` as a process of its own; only the runtime under it is scripted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from support.programs import Program, run

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys, types
from contextlib import asynccontextmanager
sys.path.insert(0, {tests!r})
from support import scripted
from storage.errors import SchemaMismatch

tries = 0

@asynccontextmanager
async def open_runtime(settings, *, telemetry):
    global tries
    tries += 1
    print("noise on standard output", flush=True)
    {opening}
    try:
        yield scripted.ScriptedRuntime(settings, scripted.ScriptedAnswers({script}))
    finally:
        print("runtime closed", flush=True)

sys.modules["server.runtime"] = types.SimpleNamespace(open_runtime=open_runtime)
from server.__main__ import main
sys.argv[1:] = ["mcp"]
sys.exit(main())
"""
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
SEARCH = {
    "jsonrpc": "2.0",
    "id": 2,
    "method": "tools/call",
    "params": {"name": "search", "arguments": {"question": "q"}},
}
NEVER = "await asyncio.sleep(600)"


def program(*, opening: str = "pass", script: str = "scripted.HAPPY") -> str:
    return PROGRAM.format(tests=str(ROOT / "tests"), opening=opening, script=script)


def environment(**env: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FOOTNOTE_")}
    return clean | {"PYTHONPATH": str(ROOT)} | env


@contextmanager
def started(
    tmp_path: Path, *, opening: str = "pass", script: str = "scripted.HAPPY"
) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    arguments = ["-c", program(opening=opening, script=script)]
    process = Program(arguments, cwd=tmp_path, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def say(process: subprocess.Popen[str], message: object) -> None:
    assert process.stdin is not None
    process.stdin.write((message if isinstance(message, str) else json.dumps(message)) + "\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return the exit code and what was logged; nothing but the protocol may have been written."""
    out, err = process.communicate(timeout=20)
    for line in out.splitlines():
        assert json.loads(line)["jsonrpc"] == "2.0"
    assert "Traceback" not in err
    return process.returncode, err


@pytest.mark.parametrize("era", ["legacy", "auto"])
async def test_the_sdk_s_client_holds_a_conversation_with_it(tmp_path: Path, era: str) -> None:
    parameters = StdioServerParameters(command=sys.executable, args=["-c", program()], env=environment(), cwd=tmp_path)
    told: list[str | None] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message)

    async with Client(stdio_client(parameters), mode=era) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} >= {"search", "ask"}
        found = await client.call_tool("search", {"question": "port?"})
        answer = await client.call_tool("ask", {"question": "port?"}, progress_callback=progress)
        resource = (await client.list_resources()).resources[0]
        contents = (await client.read_resource(resource.uri)).contents
    assert found.structured_content["results"][0]["id"] == 1
    assert answer.structured_content["answer"] == "Set the port [1]."
    assert told[0] == "passages found: 1"
    assert contents[0].text.startswith("The text of Page 1.")


def test_the_protocol_is_answered_while_the_runtime_opens(tmp_path: Path) -> None:
    with started(tmp_path, opening="await asyncio.sleep(2)") as process:
        say(process, HELLO)
        assert hear(process)["result"]["serverInfo"]["name"] == "footnote"
        say(process, {"jsonrpc": "2.0", "id": 3, "method": "tools/list"})
        say(process, SEARCH)
        assert len(hear(process)["result"]["tools"]) == 4
        assert hear(process)["result"]["structuredContent"]["results"]
        process.stdin.close()
        process.stdin = None
        code, err = finish(process)
    assert code == 0
    assert "noise on standard output" in err
    assert "runtime closed" in err


@pytest.mark.parametrize("opening", ["pass", NEVER])
@pytest.mark.parametrize("how", ["end of input", signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_and_closes_what_is_open(tmp_path: Path, how: Any, opening: str) -> None:
    with started(tmp_path, opening=opening, script="(scripted.SOURCES, scripted.Hang())") as process:
        say(process, HELLO)
        hear(process)
        say(process, SEARCH)  # which waits for the model, or for the runtime
        time.sleep(0.5)
        began = time.monotonic()
        if how == "end of input":
            process.stdin.close()
            process.stdin = None
        else:
            process.send_signal(how)
        code = process.wait(10)
        assert time.monotonic() - began < 20
        assert (code, "runtime closed" in finish(process)[1]) == (0, opening == "pass")


def test_an_opening_that_failed_is_told_to_who_asks_and_tried_again(tmp_path: Path) -> None:
    opening = "assert tries < 4\n    if tries <= 2: raise SchemaMismatch('the schema is old: run this')"
    with started(tmp_path, opening=opening) as process:
        say(process, HELLO)
        hear(process)
        time.sleep(0.5)
        say(process, SEARCH)
        refused = hear(process)["result"]
        say(process, SEARCH)
        found = hear(process)["result"]
        process.stdin.close()
        process.stdin = None
        code, err = finish(process)
    assert (refused["isError"], refused["content"][0]["text"]) == (
        True,
        "the schema is old: run this; the same call may succeed later",
    )
    assert found["structuredContent"]["results"]
    assert code == 0
    assert err.count("the runtime failed") == 2


@pytest.mark.parametrize("noise", ["", "{", "null", "[]", '{"jsonrpc":"2.0"}', "x" * 300_000, "\ufffd\u2028 \u0000"])
def test_a_line_that_is_no_message_does_no_harm(tmp_path: Path, noise: str) -> None:
    with started(tmp_path) as process:
        say(process, noise)
        say(process, HELLO)
        assert hear(process)["id"] == 1
        process.stdin.close()
        process.stdin = None
        assert finish(process)[0] == 0


def test_what_keeps_it_from_starting_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    done = run(["-m", "server", "mcp"], cwd=tmp_path, env=environment(FOOTNOTE_SERVER__PROT="1"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("footnote: FOOTNOTE_SERVER__PROT")
    assert len(done.stderr.splitlines()) == 1


def test_a_command_that_is_none_is_told_what_there_is(tmp_path: Path) -> None:
    done = run(["-m", "server", "srve"], cwd=tmp_path, env=environment())
    assert done.returncode == 2
    assert "http, mcp" in done.stderr.replace("'", "")
