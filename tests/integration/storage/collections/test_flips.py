"""Readers while generations are built, flipped, rolled back and dropped: an answer is of one of them, and right."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx
import pytest
from support.environment import make_settings
from support.events import ending, parse
from support.model_server import Reply
from support.stack import PATIENCE, until

from config.settings import DatabaseSettings
from ingestion.inputs.inputs import Inputs
from ingestion.pipeline.factory import Indexing
from ingestion.runs.run import reindex
from storage.collections.generations import Generations
from storage.database import Database

NAME = "editions"
QUESTION = "Which edition of the lighthouse book is this?"
PAUSE = 0.3  # seconds between two requests of one client
CLIENTS = 4


@dataclass(frozen=True)
class Answered:
    """What one request was answered.

    Attributes:
        fault: what was wrong with it, if anything was.

    """

    kind: str
    generation: str = ""
    texts: tuple[str, ...] = ()
    fault: str = ""


@dataclass
class Readers:
    """Clients that ask in every way, until they are stopped."""

    urls: list[str]
    answers: list[Answered] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        """Be one of them."""
        conversations: dict[str, str | None] = {}
        with httpx.Client(base_url=self.urls[number % len(self.urls)], timeout=PATIENCE) as http:
            for turn in itertools.count(number):
                if self.stopped.wait(PAUSE):
                    return
                kind = KINDS[turn % len(KINDS)]
                try:
                    self.answers.append(self._ask(http, kind, conversations))
                except (httpx.HTTPError, AssertionError, KeyError) as exc:
                    self.answers.append(Answered(kind, fault=repr(exc)))

    def _ask(self, http: httpx.Client, kind: str, conversations: dict[str, str | None]) -> Answered:
        what = {"message": QUESTION} if "chat" in kind else {"question": QUESTION}
        body = (
            what | {"collection": NAME, "conversation_id": conversations.get(kind)}
            if "chat" in kind
            else what | {"collection": NAME}
        )
        response = http.post(kind, json=body)
        if response.status_code != 200:
            return Answered(kind, fault=f"{response.status_code} {response.text}")
        if "stream" not in kind:
            said = response.json()
            conversations[kind] = said.get("conversation_id")
            found = said["results"] if kind == "/retrieve" else said["citations"]
            return Answered(kind, said["generation"], tuple(each["text"] for each in found))
        events = parse(response.text)
        end = ending(events)
        if end.name != "done":
            return Answered(kind, fault=str(end.data))
        conversations[kind] = end.data.get("conversation_id")
        sources = events[0].data
        return Answered(kind, sources["generation"], tuple(each["text"] for each in sources["citations"]))


KINDS = ("/query", "/retrieve", "/query/stream", "/chat", "/chat/stream")


@contextlib.contextmanager
def reading(*urls: str):
    """Let clients ask the servers until the block ends; their answers are complete after it."""
    readers = Readers(list(urls))
    with ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(readers.run, number) for number in range(CLIENTS)]
        try:
            yield readers
        finally:
            readers.stopped.set()
    for each in asking:
        each.result()


@dataclass
class Operator:
    """Builds generations with the real reader and model, and flips; each call opens and closes all that it needs.

    Attributes:
        editions: what each generation's texts say of themselves, by its name.

    """

    stack: object
    folder: object
    editions: dict[str, int] = field(default_factory=dict)
    instruction: str | None = None
    number: int = 0

    def build(self, *, activate: str = "always") -> str:
        """Build a generation of a new edition; return its name."""
        self.number += 1
        for name in ("lighthouse", "keeper", "lamp"):
            text = f"# The {name}\n\nThis is edition {self.number} of the lighthouse book, its part on the {name}.\n\n"
            (self.folder / f"{name}.md").write_text(text + f"Edition {self.number} says more of the {name}. " * 20)

        async def work(indexing: Indexing) -> str:
            inputs = Inputs(NAME, [str(self.folder)], base=self.folder)
            built = await reindex(
                indexing, inputs, resume=False, activate=activate, golden=None, force=False, watch=lambda _: None
            )
            name = getattr(built, "after", "1")
            assert activate == "never" or name == "1" or built.activated, built.as_text()
            return name

        name = self._do(work)
        self.editions[name] = self.number
        return name

    def activate(self, name: str) -> None:
        """Flip to a generation that there is, its documents as they are."""
        self._do(lambda indexing: indexing.generations.activate(NAME, name))

    def rollback(self) -> str:
        """Go back."""

        async def work(indexing: Indexing) -> str:
            name = await indexing.generations.previous(NAME)
            await indexing.generations.activate(NAME, name)
            return name

        return self._do(work)

    def prune(self) -> None:
        """Drop all but the two newest that do not answer."""
        self._do(lambda indexing: indexing.generations.prune(NAME, keep=2, spared_seconds=0))

    def _do(self, work: Callable):
        return asyncio.run(self._with_indexing(work))

    async def _with_indexing(self, work: Callable):
        settings = make_settings(
            self.stack.dsn,
            self.stack.data_dir,
            embedding={"text_instruction": self.instruction},
            generations={"keep": 100},
            ingestion={"chunk_tokens": 64, "nice": 0},
        )
        database = await Database.open(self.stack.dsn, settings=settings.database)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            indexing = Indexing(database, settings=settings, stack=stack)
            if self.instruction is None:
                indexing.embedders.lend(self.stack.embedder)
            return await work(indexing)


@pytest.fixture
def operator(stack, tmp_path):
    stack.fresh(default=Reply("It is this one [1]."))
    folder = tmp_path / "in"
    folder.mkdir()
    made = Operator(stack, folder)
    made.build()
    yield made
    stack.rows("DELETE FROM footnote.leases WHERE name LIKE 'generation %%'")
    asyncio.run(_delete(stack.dsn))


async def _delete(dsn):
    from storage.collections.collections import Collections

    database = await Database.open(dsn, settings=DatabaseSettings())
    async with database.transaction() as connection:
        await Collections(database).delete(connection, NAME)
    await database.close()


def generation_at(http, mode="keyword"):
    found = http.post("/retrieve", json={"question": QUESTION, "collection": NAME, "mode": mode})
    assert found.status_code == 200, found.text
    assert found.json()["results"]
    return found.json()["generation"]


def followed(http, name):
    until(lambda: generation_at(http) == name)


def assert_right(readers, operator):
    assert [each for each in readers.answers if each.fault] == []
    assert {each.kind for each in readers.answers} == set(KINDS)
    for each in readers.answers:
        assert each.texts, each
        said = {int(number) for text in each.texts for number in re.findall(r"edition (\d+)", text, re.IGNORECASE)}
        assert said == {operator.editions[each.generation]}, each


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("wanted", "seen"), [(5, 2), pytest.param(20, 4, marks=pytest.mark.soak)])
def test_no_reader_meets_an_error_a_mixture_or_nothing_during_flips_and_a_rollback(stack, operator, wanted, seen):
    with stack.serve() as one, stack.serve() as two, reading(str(one.base_url), str(two.base_url)) as readers:
        flips = 0
        while flips < wanted:
            name = operator.build()
            for each in (one, two):
                followed(each, name)
            others = [other for other in list(operator.editions)[-3:] if other != name]
            for other in [*others, name]:
                operator.activate(other)
                until(lambda other=other: generation_at(one) == other)
            flips += 2 + len(others)
            operator.prune()
        back = operator.rollback()
        for each in (one, two):
            followed(each, back)
        before = len(readers.answers)
        until(lambda: len(readers.answers) > before + 2 * CLIENTS)
    assert_right(readers, operator)
    assert len({each.generation for each in readers.answers}) >= seen
    assert readers.answers[-1].generation == back


def test_servers_follow_a_flip_that_nobody_told_them_of(stack, operator):
    first, second = "1", operator.build(activate="never")
    with stack.serve() as one, stack.process() as other, httpx.Client(base_url=other.url, timeout=PATIENCE) as two:
        for each in (one, two):
            assert generation_at(each) == first
        stack.rows(
            """UPDATE footnote.generations g SET state = 'retired', retired_at = now() FROM footnote.collections c
               WHERE c.id = g.collection_id AND c.name = %s AND g.state = 'active'""",
            NAME,
        )
        stack.rows(
            """UPDATE footnote.generations g SET state = 'active', activated_at = now() FROM footnote.collections c
               WHERE c.id = g.collection_id AND c.name = %s AND g.number = %s""",
            NAME,
            int(second),
        )
        for each in (one, two):
            followed(each, second)


def test_servers_follow_flips_after_they_lost_their_connections(stack, operator):
    second = operator.build(activate="never")
    with stack.serve() as one, stack.process() as other, httpx.Client(base_url=other.url, timeout=PATIENCE) as two:
        for name in (second, "1", second):
            for each in (one, two):
                until(lambda each=each: each.get("/health").status_code == 200)
                generation_at(each)
            killed = stack.rows(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'footnote'"""
            )
            assert len(killed) >= 2
            operator.activate(name)
            for each in (one, two):
                until(lambda each=each, name=name: _generation_or_none(each) == name)


def _generation_or_none(http):
    """The connection that was killed may be the one that is lent: that request may fail, the next one does not."""
    found = http.post("/retrieve", json={"question": QUESTION, "collection": NAME, "mode": "keyword"})
    assert found.status_code in {200, 503}, found.text
    return found.json()["generation"] if found.status_code == 200 else None


@pytest.mark.timeout(600)
def test_readers_go_on_while_a_server_opens_the_model_of_the_next_generation(stack, operator):
    with stack.serve() as one, reading(str(one.base_url)) as readers:
        until(lambda: len(readers.answers) > 2 * len(KINDS))
        operator.instruction = "passage: "
        second = operator.build()
        followed(one, second)
        seen = len(readers.answers)
        until(lambda: len(readers.answers) > seen + 2 * len(KINDS))
        assert generation_at(one, mode="vector") == second
        back = operator.rollback()
        followed(one, back)
        until(lambda: len(readers.answers) > seen + 4 * len(KINDS))
    assert_right(readers, operator)


def test_a_server_without_the_next_generations_model_goes_on_with_the_old_one_and_says_so(stack, operator):
    second = operator.build(activate="never")
    with stack.serve() as one:
        assert generation_at(one) == "1"
        stack.rows(
            """UPDATE footnote.generations SET embedding_fingerprint = 'of a model that is not here'
               WHERE number = %s AND collection_id = (SELECT id FROM footnote.collections WHERE name = %s)""",
            int(second),
            NAME,
        )
        operator.activate(second)
        until(lambda: "generation 2" in one.get("/ready").text)
        assert generation_at(one, mode="hybrid") == "1"
        operator.activate("1")
        until(lambda: "generation 2" not in one.get("/ready").text)
        assert generation_at(one, mode="hybrid") == "1"


def test_an_answer_that_is_being_written_keeps_its_generation_and_its_table_through_flips_and_prunes(stack, operator):
    gate = threading.Event()
    with stack.serve() as one:
        assert generation_at(one) == "1"
        stack.fresh(Reply("one two three [1].", gate=gate), default=Reply("It is this one [1]."))
        with one.stream("POST", "/query/stream", json={"question": QUESTION, "collection": NAME}) as response:
            pieces = response.iter_text()
            begun = ""
            while "event: token" not in begun:
                begun += next(pieces)
            for _ in range(3):
                name = operator.build()
                followed(one, name)
            asyncio.run(_prune_all(stack.dsn))
            left = {
                row[0]
                for row in stack.rows(
                    """SELECT number FROM footnote.generations g JOIN footnote.collections c ON c.id = g.collection_id
                   WHERE c.name = %s""",
                    NAME,
                )
            }
            gate.set()
            events = parse(begun + "".join(pieces))
        assert {1, int(name)} <= left
        assert ending(events).name == "done"
        assert events[0].data["generation"] == "1"
        assert generation_at(one) == name


async def _prune_all(dsn):
    database = await Database.open(dsn, settings=DatabaseSettings())
    await Generations(database).prune(NAME, keep=0, spared_seconds=0)
    await database.close()
