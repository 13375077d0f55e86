"""What Footnote expects of plug-ins, for their authors to run; docs/plug-ins.md says how.

It tries the plug-ins that the environment names, and what is installed beside, each through a real server over four
small documents. Without any it tries the sample package of these tests.

    CONTRACT_QUESTION   what engines are asked; it should make them find something
    CONTRACT_FILES      a folder with files for the readers
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from support.events import ending, parse
from support.model_server import Reply
from support.plug_ins import SAMPLE, installed
from support.stack import Stack, StackClient, open_stack

from config.plug_ins import chat_engine_names, engine_names, offered
from config.settings import EmbeddingSettings, IngestionSettings, PlugInSettings, SettingsError, load_settings
from embedding.files import find_model
from ingestion.plug_ins import check_plug_ins, suffixes_read
from ingestion.read_options import read_options
from ingestion.readers.kinds import KIND_OF_SUFFIX
from ingestion.readers.process_pool import _Job, parse_file
from ingestion.types import Parsed
from server.plug_ins.opening import open_plug_ins

RECIPE = "name = Ostrava bread\nstep1 = Mix the flour.\nstep2 = Bake the bread.\n"
GROUPS = ("engines", "chat_engines", "readers")
QUESTION = os.environ.get("CONTRACT_QUESTION", "Who built the lighthouse, and how long does the bread rise?")
FILES = os.environ.get("CONTRACT_FILES")
LONGEST_PAUSE = 2.0  # seconds for /health on a busy machine, where it takes milliseconds


def _given() -> tuple[PlugInSettings, IngestionSettings, bool]:
    """Return what is to be tried, and whether it is the sample, before the suite clears the environment."""
    settings = load_settings()
    is_named = settings.plug_ins != PlugInSettings() or settings.ingestion != IngestionSettings()
    if is_named or any(offered(f"footnote.{group}") for group in GROUPS):
        return settings.plug_ins, settings.ingestion, False
    sample = PlugInSettings.model_validate({"postprocessors": ["no-bread"], "guards": ["no-addresses"]})
    return sample, IngestionSettings.model_validate({"transformations": ["shout"]}), True


PLUG_INS, INGESTION, IS_SAMPLE = _given()
with installed(SAMPLE) if IS_SAMPLE else nullcontext():
    ENGINES, CHAT_ENGINES = engine_names(PLUG_INS), chat_engine_names(PLUG_INS)
    SUFFIXES = sorted(suffixes_read(INGESTION))


@pytest.fixture(scope="module")
def stack(databases: Any, shared_dir: Path, embedder: Any) -> Iterator[Stack]:
    with open_stack(databases, shared_dir=shared_dir, embedder=embedder) as opened:
        yield opened


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[StackClient]:
    """Serve with the plug-ins; the model's answer is always the same."""
    stack.fresh(default=Reply(text="It was Milada Novak [1]."))
    with installed(SAMPLE) if IS_SAMPLE else nullcontext():
        try:
            open_plug_ins(PLUG_INS)
            check_plug_ins(INGESTION, ours=KIND_OF_SUFFIX)
        except SettingsError as exc:  # the server would not start, and say so in its log only
            pytest.fail(f"the server does not start: {exc}", pytrace=False)
        groups = {"plug_ins": PLUG_INS.model_dump(by_alias=True), "retrieval": {"min_score": 0}}
        with stack.serve(**groups) as client:
            yield client


def _body(mode: str, path: str) -> dict[str, object]:
    return {"message" if path == "/chat" else "question": QUESTION, "mode": mode}


@pytest.mark.parametrize("mode", ENGINES)
def test_an_engine_answers_whole_and_streamed(http: StackClient, mode: str) -> None:
    whole = http.post("/query", json=_body(mode, "/query"))
    assert whole.status_code == 200, whole.text
    assert whole.json()["answer"].strip()
    assert not [note for note in whole.json()["engine"]["notes"] if "left out" in note], "brings_passages is not set"
    events = parse(http.post("/query/stream", json=_body(mode, "/query")).text)
    assert (events[0].name, ending(events).name) == ("sources", "done")


@pytest.mark.parametrize("mode", ENGINES)
def test_an_engine_retrieves_or_says_that_it_cannot(http: StackClient, mode: str) -> None:
    found = http.post("/retrieve", json=_body(mode, "/retrieve"))
    assert found.status_code in {200, 422}, found.text


@pytest.mark.parametrize("mode", [*ENGINES, *CHAT_ENGINES])
def test_an_engine_chats_over_two_turns(http: StackClient, mode: str) -> None:
    first = http.post("/chat", json=_body(mode, "/chat"))
    assert first.status_code == 200, first.text
    again = {**_body(mode, "/chat"), "conversation_id": first.json()["conversation_id"]}
    assert http.post("/chat", json=again).status_code == 200


@pytest.mark.parametrize("mode", [*ENGINES, *CHAT_ENGINES, "hybrid"])
def test_eight_at_once_are_answered_and_the_server_with_them(http: StackClient, mode: str) -> None:
    path = "/chat" if mode in CHAT_ENGINES else "/query"
    longest, stopped = [0.0], threading.Event()

    def look() -> None:
        while not stopped.is_set():
            started = time.perf_counter()
            http.get("/health").raise_for_status()
            longest[0] = max(longest[0], time.perf_counter() - started)
            stopped.wait(0.02)

    with ThreadPoolExecutor(9) as clients:
        looking = clients.submit(look)
        asked = list(clients.map(lambda _: http.post(path, json=_body(mode, path)), range(8)))
        stopped.set()
        looking.result()
    assert [answer.status_code for answer in asked] == [200] * 8, [answer.text for answer in asked]
    assert longest[0] < LONGEST_PAUSE, "it blocks the event loop: set `blocks`"


def test_nothing_is_lost_when_all_is_done(http: StackClient) -> None:
    states = http.get("/ready").json()["dependencies"]
    assert all(state["ok"] for name, state in states.items() if name.startswith("plug-in "))


def _parsed(path: Path) -> Parsed:
    options = read_options(INGESTION, language="english")
    tokenizer = find_model(EmbeddingSettings()).tokenizer_file
    found = parse_file(path, _Job(str(tokenizer), 256, 32, 1 << 26, options))
    assert isinstance(found, Parsed), found
    return found


def _files(folder: Path) -> list[Path]:
    text = folder / "text.md"
    text.write_text("# The harbour\n\nThe ferry leaves at noon.\n\n## The bell\n\nThe bell rings twice a day.\n")
    if IS_SAMPLE:
        (folder / "bread.recipe").write_text(RECIPE)
    own = [path for path in Path(FILES).rglob("*") if path.suffix.lower() in SUFFIXES] if FILES else []
    return [*sorted(folder.iterdir()), *sorted(own)]


def test_readers_and_transformations_give_the_same_twice_in_its_place(tmp_path: Path) -> None:
    with installed(SAMPLE) if IS_SAMPLE else nullcontext():
        check_plug_ins(INGESTION, ours=KIND_OF_SUFFIX)
        for path in _files(tmp_path):
            first, second = _parsed(path), _parsed(path)
            assert first == second, f"{path.name} is read in another way each time: it would be indexed again and again"
            text: dict[int, str] = {}
            for chunk in first.chunks:
                assert chunk.end - chunk.start == len(chunk.text)
                for at, character in enumerate(chunk.text, chunk.start):
                    assert text.setdefault(at, character) == character
