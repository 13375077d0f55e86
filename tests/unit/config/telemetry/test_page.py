"""``docs/operations/telemetry.md`` names what the code tells, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PAGE = ROOT / "docs" / "operations" / "telemetry.md"
ROOMS = ("config", "storage", "embedding", "ingestion", "server")
INSTRUMENTS = {"_seconds", "_sizes", "create_counter", "Gauge"}
"""What makes an instrument in ``config/telemetry/metrics.py``, its name first."""

BY_FASTAPI = {"http.server.request.duration", "http.server.active_requests"}
OURS = re.compile(r"footnote(?:\.[a-z0-9_]+)+")
ANSWERS = {"footnote.query", "footnote.chat", "footnote.retrieve"}
"""Spans whose name is put together of an operation's."""

NO_TELEMETRY = {"footnote.abort", "footnote.access", "footnote.job", "footnote.llms", "footnote.embeddings"}
"""An extension of ASGI's, a logger, the queue's one task, and groups of entry points."""


def strings_of(path):
    """Return the strings of a module, f-strings with ``*`` for what is filled in, without its docstrings."""
    tree = ast.parse(path.read_text())
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said | parts:
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "*" for part in node.values)


def names_in_code():
    """Return the names of ours that are strings of their own, and the beginnings of those that are put together."""
    strings = {text for room in ROOMS for path in (ROOT / room).rglob("*.py") for text in strings_of(path)}
    whole = {text for text in strings if OURS.fullmatch(text)} - NO_TELEMETRY
    begun = {text.partition("*")[0] for text in strings if re.fullmatch(r"footnote\.[a-z_.]*\*", text)}
    return whole | ANSWERS, begun - {"footnote."}


def metrics_in_code():
    tree = ast.parse((ROOT / "config" / "telemetry" / "metrics.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args]
    return {
        call.args[0].value
        for call in calls
        if isinstance(call.args[0], ast.Constant)
        and getattr(call.func, "id", getattr(call.func, "attr", None)) in INSTRUMENTS
    }


def names_in(text):
    """Return the names between back ticks; ``.moved`` behind ``footnote.documents.added`` is another of its kind."""
    found = []
    for name in re.findall(r"`([a-z_.0-9]+)`", text):
        found.append(f"{found[-1].rpartition('.')[0]}{name}" if name.startswith(".") else name)
    return {name for name in found if "." in name}


def section(title):
    """Return the part of the page under a heading."""
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL)[1]


def rows(text):
    """Return the first cells of tables' rows."""
    return " ".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))


def test_every_metric_is_in_the_page():
    assert metrics_in_code() - names_in(rows(section("Metrics"))) == set()


def test_every_metric_of_the_page_is_recorded():
    assert names_in(rows(section("Metrics"))) - metrics_in_code() - BY_FASTAPI == set()


def test_every_name_of_ours_in_the_code_is_in_the_page():
    whole, _ = names_in_code()
    assert whole - names_in(PAGE.read_text()) == set()


def test_every_name_of_ours_in_the_page_is_in_the_code():
    whole, begun = names_in_code()
    told = {name for name in names_in(PAGE.read_text()) if OURS.fullmatch(name)}
    assert {name for name in told - whole if not name.startswith(tuple(begun))} == set()


@pytest.mark.parametrize("name", ["footnote.answer.duration", "db.client.connection.max", "process.memory.usage"])
def test_metrics_are_found_in_the_code(name):
    assert name in metrics_in_code()


def test_names_are_found_in_the_code():
    whole, begun = names_in_code()
    assert {"footnote.outcome", "footnote.ingest.document", "footnote.problem", "footnote.retries"} <= whole
    assert begun == {"footnote.documents.", "footnote.ingest."}
