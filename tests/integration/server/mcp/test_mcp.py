"""MCP as its users meet it: the real programs on really ingested documents, the SDK's client on both transports."""

import asyncio
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from support.programs import Program, run

ROOT = Path(__file__).parents[4]
SECTIONS = [
    f"## Lamp {n}\n\nLamp {n} of the lighthouse burns oil number {n}. " + "It is lit at dusk by hand. " * 40
    for n in range(12)
]
DOCUMENTS = {
    "lighthouse.md": "# The lighthouse\n\nThe lighthouse of Ostrava Bay was built in 1871 by the engineer "
    "Milada Novak.\n\n" + "\n\n".join(SECTIONS) + "\n",
    "bread.html": "<html><title>Bread</title><nav>Home</nav><main><h1>Bread</h1><p>Sourdough rises for twelve hours "
    "before it is baked.</p></main></html>",
}


def environment(data_dir, workers=1):
    return {
        **os.environ,
        "FOOTNOTE_DATA_DIR": str(data_dir),
        "FOOTNOTE_SERVER__PORT": "0",
        "FOOTNOTE_SERVER__WORKERS": str(workers),
        "FOOTNOTE_LLM__PROVIDER": "extractive",
    }


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory, shared_dir):
    """Ingest the documents into a data directory of their own; the model's export is shared."""
    folder = tmp_path_factory.mktemp("corpus")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text)
    made = shared_dir / "mcp"
    made.mkdir()
    (shared_dir / "models").mkdir(exist_ok=True)
    (made / "models").symlink_to(shared_dir / "models")
    for arguments in (("storage", "upgrade"), ("ingestion", str(folder), "--base", str(folder))):
        run(["-m", *arguments], env=environment(made), check=True)
    return made


@contextmanager
def http_server(data_dir, *, workers=1):
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    process = Program(["-m", "server"], env=environment(data_dir, workers), stdout=pipe, stderr=nowhere)
    try:
        yield re.search(r"ready at (http://\S+)", process.stdout.readline())[1]
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


async def conversation(client):
    """Use everything once; return what was said."""
    question = {"question": "Who built the lighthouse of Ostrava Bay, and when?", "k": 3}
    found = (await client.call_tool("search", question)).structured_content
    answer = await client.call_tool("ask", question)
    document = {"document_id": found["results"][0]["document_id"], "max_characters": 700}
    parts, offset = [], 0
    while offset is not None:
        part = (await client.call_tool("get_document", document | {"offset": offset})).structured_content
        parts.append(part["text"])
        offset = part["next_offset"]
    listed = (await client.list_resources()).resources
    for result in (found, answer.structured_content):  # these are of one request each
        own = {name: result.pop(name, None) for name in ("request_id", "trace_id", "timings_ms")}
        assert own["request_id"]
    return {
        "collections": (await client.call_tool("list_collections", {})).content[0].text,
        "found": found,
        "answer": answer.structured_content,
        "answer_text": answer.content[0].text,
        "text": "".join(parts),
        "resources": {item.name: (await client.read_resource(item.uri)).contents[0].text for item in listed},
        "refusal": (await client.call_tool("search", {"question": "x", "collection": "nowhere"})).content[0].text,
    }


async def test_both_transports_hold_the_same_conversation_and_leave_nothing_behind(data_dir):
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "server", "mcp"], env=environment(data_dir), cwd=ROOT
    )
    with (data_dir / "stdio.log").open("w") as log:
        async with Client(stdio_client(parameters, errlog=log)) as client:
            by_stdio = await conversation(client)
            questions = [f"What does lamp {n} burn?" for n in range(12)]
            many = await asyncio.gather(*(client.call_tool("search", {"question": one}) for one in questions))
    assert all(f"Lamp {n} " in one.content[0].text for n, one in enumerate(many))
    assert not (
        data_dir / "postgres" / "postmaster.pid"
    ).exists()  # the client's end was the server's, and the database's
    assert "Traceback" not in (data_dir / "stdio.log").read_text()

    for workers in (1, 2):
        with http_server(data_dir, workers=workers) as url:
            async with Client(url + "/mcp", mode="legacy") as client:
                by_http = await conversation(client)
                again = await asyncio.gather(*(client.call_tool("search", {"question": one}) for one in questions))
        assert by_http == by_stdio
        assert all(f"Lamp {n} " in one.content[0].text for n, one in enumerate(again))

    passage = by_stdio["found"]["results"][0]
    assert passage["source"] == "lighthouse.md"
    assert "Milada Novak" in passage["text"]
    assert by_stdio["text"][passage["start"] : passage["end"]] == passage["text"]
    assert by_stdio["text"].split() == DOCUMENTS["lighthouse.md"].split()
    assert by_stdio["resources"]["lighthouse.md"] == by_stdio["text"]
    assert "Sourdough rises" in by_stdio["resources"]["bread.html"]
    assert "[1]" in by_stdio["answer"]["answer"]
    assert "lighthouse.md <footnote://default/documents/" in by_stdio["answer_text"]
    assert by_stdio["collections"].startswith("default: 2 documents, ")
    assert by_stdio["refusal"] == "there is no collection 'nowhere'"
