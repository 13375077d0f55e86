"""Random histories of an index, with crashes and with writers beside: after each step it is what a model says it is.

The short run is the same each time; `make soak` makes a long one.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4, uuid5

import pytest
import stamina
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from support.environment import make_settings
from support.index_model import (
    IDENTITIES,
    VERSIONS,
    Crash,
    Doc,
    Gen,
    MadeUpIndexing,
    Points,
    actual_state,
    adopted,
    chunking_of,
    finished_or_crashed,
    stop_in_transactions,
    text_of,
    vector_of,
    with_files,
    words_of,
)
from support.soak import SOAK, examples

from config.settings import IngestionSettings, RetrievalSettings
from ingestion.identity import pipeline_fingerprint
from ingestion.inputs.local_files import LocalFiles
from ingestion.inputs.stored import FromDatabase, KeptDocument
from ingestion.runs.reindexing import NOT_WANTED, Reindexing, catch_up
from storage.database import Database
from storage.deletions import mark_deleted
from storage.documents import originals
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import SourceTaken, StoreUnavailable
from storage.search.search import ChunkSearch, SearchRequest
from storage.vector_store import ChunkStore

SEARCH = settings(
    max_examples=examples(12, 1000),
    stateful_step_count=20 if SOAK else 12,
    derandomize=not SOAK,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
FILES = st.integers(0, 5)
TEXTS = st.integers(0, VERSIONS - 1)
WHICH = st.integers(0, 7)
FAULTS = st.none() | st.tuples(st.integers(0, 40), st.sampled_from(["crash", "cancel", "unavailable"]))
MEANWHILE = st.lists(
    st.tuples(st.integers(0, 25), st.sampled_from(["bury", "upload", "note"]), WHICH, TEXTS), max_size=2
)


@dataclass
class Rig:
    """What all histories share."""

    runner: asyncio.Runner
    database: Database
    points: Points
    folder: Path
    settings: Any


class World:
    """One collection, and what it should hold."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.name = f"c{uuid4().hex[:12]}"
        self.folder = rig.folder / self.name
        self.folder.mkdir()
        self.ticks = itertools.count(1)
        self.numbers = itertools.count()
        self.indexing = MadeUpIndexing(rig.database, settings=rig.settings, points=rig.points)
        self.gens: dict[str, Gen] = {}
        self.buried: list[tuple[str, Doc]] = []  # during the step at hand
        self.written: set[str] = set()

    async def begin(self) -> None:
        generation = await self.indexing.ensure(self.name)
        self.gens["1"] = Gen("1", generation.embedding, generation.chunking, "active", id=generation.id)

    @property
    def active(self) -> Gen:
        return next(gen for gen in self.gens.values() if gen.state == "active")

    def listing(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in sorted(self.folder.iterdir())}

    def files(self, generation, beside=None) -> LocalFiles:
        return LocalFiles(
            self.rig.database,
            generation=generation,
            beside=beside,
            settings=IngestionSettings(),
            base=self.folder,
            named=[str(self.folder)],
            metadata={},
        )

    def paths(self) -> list[Path]:
        return sorted(self.folder.iterdir())

    # steps

    async def ingest(self, fault, meanwhile) -> None:
        before, listing, tick = _copy(self.active), self.listing(), next(self.ticks)
        done, _ = await self._do(self._ingest(), fault, meanwhile)
        actual = (await self._actual())[before.name]
        after = with_files(before, actual, listing=listing, tick=tick, buried=len(self.buried))
        for document_id in self.written:
            after.put(document_id, self.active.docs[document_id])
        self._forget_buried(after)
        self._forget_buried(before)
        self.gens[before.name] = after if done else adopted(actual, before=before, after=after)

    async def _ingest(self) -> None:
        generation = await self.indexing.collections.active(self.name)
        pipeline = await self.indexing.pipeline(generation)
        files = self.files(generation)
        report = await pipeline.run(files.changed(self.paths(), report=pipeline.report, trace=pipeline.trace))
        assert not report.failed
        await self.indexing.generations.tidy(generation)

    async def upload(self, document_id: str, source: str, version: int) -> None:
        """Do as a worker does with an upload."""
        generation = await self.indexing.collections.active(self.name)
        if generation.name != self.active.name:  # the step at hand has flipped, and is about to end
            return
        tick = next(self.ticks)
        documents = Documents(self.rig.database, generation=generation)
        data = text_of(version).encode()
        digest = hashlib.sha256(data).hexdigest()
        path = self.rig.folder / f"upload-{uuid4().hex}"
        path.write_bytes(data)
        kept = Originals(self.rig.database)
        revision = await documents.next_revision()
        await kept.put(path, content_hash=digest)
        fingerprint = pipeline_fingerprint(
            generation.embedding, generation.chunking, metadata={}, settings=self.indexing.settings.ingestion
        )
        document = KeptDocument(document_id, source, None, "u.txt", None, {}, digest, fingerprint, revision)
        pipeline = await self.indexing.pipeline(generation)
        report = await pipeline.run(_one(FromDatabase(document, documents, kept)))
        gen = self.gens[generation.name]
        if gen.at(source) not in {None, document_id}:  # it takes no other document's place
            assert isinstance(pipeline.first_failure, SourceTaken)
            return
        assert not report.failed
        assert not report.skipped
        self.written.add(document_id)
        doc = Doc(source, words_of(text_of(version)), tick, is_file=False)
        if (stored := gen.docs.get(document_id)) is not None and stored.shown == doc.shown:
            doc = replace(stored, tick=tick)  # the row stays, and is newer now
        gen.put(document_id, doc)

    async def note(self, which: int, version: int) -> None:
        """Add a node as LlamaIndex does."""
        generation = await self.indexing.collections.active(self.name)
        if generation.name != self.active.name:  # see `upload`
            return
        tick, document_id = next(self.ticks), f"note {which % 2}"
        text = f"w{version}note{next(self.numbers)} is noted"
        node = TextNode(
            id_=uuid4().hex,
            text=text,
            embedding=vector_of(generation.embedding, text).tolist(),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document_id)},
        )
        store = ChunkStore(self.rig.database, generation=generation, settings=RetrievalSettings())
        await store.async_add([node])
        gen = self.gens[generation.name]
        old = gen.docs.get(document_id)
        gen.put(document_id, Doc(document_id, words_of(text) | (old.words if old else set()), tick, is_file=False))
        self.written.add(document_id)

    async def bury(self, which: int) -> None:
        """Delete a document, as the API does."""
        generation = await self.indexing.collections.active(self.name)
        docs = self.active.docs
        if not docs or generation.name != self.active.name:  # see `upload`
            return
        document_id = sorted(docs)[which % len(docs)]
        async with self.rig.database.transaction() as connection:
            await mark_deleted(connection, generation.collection_id, document_id=document_id)
        next(self.ticks)
        self.buried.append((document_id, docs[document_id]))
        self.written.discard(document_id)
        for gen in self.gens.values():
            self._forget_buried(gen)

    def _forget_buried(self, gen: Gen) -> None:
        alive = self.active.docs
        for document_id, doc in self.buried:
            if document_id not in self.written:
                gen.docs.pop(document_id, None)
            holder = gen.at(doc.source)  # what had given way to it
            if holder is not None and holder not in alive and gen.docs[holder].tick < doc.tick:
                del gen.docs[holder]

    async def reindex(self, *, chunk: int, model: str, resume: bool, activate: bool, fault, meanwhile) -> None:
        self.indexing.wanted = (IDENTITIES[model], chunking_of(chunk))
        active, listing, tick = self.active, self.listing(), next(self.ticks)
        beside = _copy(active)
        # one version more of each document, not two
        meanwhile = list({(kind, which % 2): (at, kind, which, to) for at, kind, which, to in meanwhile}.values())
        building = Reindexing(self.indexing, active=await self.indexing.collections.active(self.name)).run(
            self.paths(), files=self.files, resume=resume, activate="always" if activate else "never", gate=None
        )
        done, result = await self._do(building, fault, meanwhile)
        actual = await self._actual()
        self._check_dropped(actual, resume=resume)
        name = result.after if done else self._target(actual, chunk=chunk, model=model)
        if name is None:
            return
        before = self.gens.get(name) or replace(actual[name], docs={})
        after = with_files(before, actual[name], listing=listing, tick=tick, beside=beside, buried=len(self.buried))
        self._forget_buried(after)
        self._forget_buried(before)
        late = _copy(after)  # what is written after the last look at a build that is only kept waits for its flip
        self._forget_buried(beside)
        for document_id, _ in self.buried:
            beside.docs.pop(document_id, None)  # though it was written anew
        late.carry(beside)
        after.carry(active)
        if done and not activate:
            after = adopted(actual[name], before=late, after=after)
        if done:
            assert (result.activated, result.kept_because) == ((True, None) if activate else (False, NOT_WANTED))
        self._settle(actual, after, before=before, between=late, done=done, activated=done and activate)

    def _settle(
        self, actual: dict[str, Gen], after: Gen, *, before: Gen, between: Gen, done: bool, activated: bool
    ) -> None:
        state = actual[after.name].state
        if done or state == "active":
            self.gens[after.name] = after
            assert activated or not done or state == "ready"
        else:
            self.gens[after.name] = adopted(actual[after.name], before=before, after=after, between=between)
        if state == "active" and self.active.name != after.name:
            self.active.state = "retired"
        self.gens[after.name].state = state

    def _check_dropped(self, actual: dict[str, Gen], *, resume: bool) -> None:
        for name in {
            each for each, gen in self.gens.items() if gen.id != actual.get(each, gen).id or each not in actual
        }:
            assert self.gens[name].state == "building"
            assert not resume or self._is_other(self.gens[name])
            del self.gens[name]

    def _is_other(self, gen: Gen) -> bool:
        return (gen.identity, gen.chunking) != self.indexing.wanted

    def _target(self, actual: dict[str, Gen], *, chunk: int, model: str) -> str | None:
        """Return the generation that an interrupted build wrote to."""
        if new := set(actual) - set(self.gens):
            return new.pop()
        changed = [
            name
            for name, gen in actual.items()
            if gen.state in {"building", "ready"} or (gen.state == "active" and self.gens[name].state != "active")
        ]
        wanted = (IDENTITIES[model], chunking_of(chunk))
        same = [name for name in changed if (actual[name].identity, actual[name].chunking) == wanted]
        return same[-1] if same else None

    async def activate(self, which: int, *, fault, meanwhile) -> None:
        """Go back, or on, to another generation, and bring it up to date."""
        names = [gen.name for gen in self.gens.values() if gen.state in {"ready", "retired"}]
        if not names:
            return
        name, before = names[which % len(names)], self.active
        # a node that joins a document which is not carried over yet makes a newer one of its own
        meanwhile = [step for step in meanwhile if step[1] != "note"]
        done, _ = await self._do(self._activate(name, before.name), fault, meanwhile)
        actual = await self._actual()
        if actual[name].state != "active":
            assert not done
            return
        after = _copy(self.gens[name])
        after.carry(before)
        before.state, after.state = "retired", "active"  # be it that the commit alone got through
        self.gens[name] = after if done else adopted(actual[name], before=self.gens[name], after=after)

    async def _activate(self, name: str, before: str) -> None:
        generations = self.indexing.generations
        flip = await generations.activate(self.name, name)
        assert (flip.before, flip.after) == (before, name)
        self.gens[before].state, self.gens[name].state = "retired", "active"
        report = await catch_up(
            self.indexing,
            target=await self.indexing.collections.active(self.name),
            reference=await generations.get(self.name, flip.before),
        )
        assert not report.failed
        assert not report.skipped

    async def prune(self, keep: int) -> None:
        """Drop generations, and bytes that nothing needs."""
        dropped = await self.indexing.generations.prune(self.name, keep=keep, spared_seconds=0)
        droppable = [gen.name for gen in self.gens.values() if gen.state in {"ready", "retired"}]
        assert len(dropped) == max(0, len(droppable) - keep)
        for name in dropped:
            assert self.gens.pop(name).state in {"ready", "retired"}
        await Originals(self.rig.database).prune()
        async with self.rig.database.dedicated(as_owner=True) as connection:
            left = await connection.fetchval(
                """SELECT count(*) FROM footnote.originals o
                   WHERE NOT EXISTS (SELECT FROM footnote.documents d WHERE d.original = o.content_hash)"""
            )
        assert left == 0

    async def check(self) -> None:
        """Compare the index with the model."""
        actual = await self._actual()
        assert {name: gen.state for name, gen in actual.items()} == {n: gen.state for n, gen in self.gens.items()}
        for name, gen in self.gens.items():
            shown = {each: doc.shown for each, doc in actual[name].docs.items()}
            assert shown == {each: doc.shown for each, doc in gen.docs.items()}, f"generation {name} ({gen.state})"
            await self._search(gen)

    async def _search(self, gen: Gen) -> None:
        generation = await self.indexing.generations.get(self.name, gen.name)
        search = ChunkSearch(self.rig.database, generation=generation, settings=RetrievalSettings())
        for document_id, doc in gen.docs.items():
            for word in sorted(doc.words)[:: max(1, len(doc.words) - 1)]:
                by_word = await search.search(SearchRequest(mode="keyword", limit=50, text=word))
                assert document_id in {hit.document_id for hit in by_word}
                assert {hit.document_id for hit in by_word} <= set(gen.docs)
        near = await search.search(SearchRequest(mode="vector", limit=100, embedding=vector_of(gen.identity, "x")))
        assert {hit.document_id for hit in near} == set(gen.docs)

    async def _actual(self) -> dict[str, Gen]:
        return await actual_state(self.rig.database, self.name)

    async def _do(self, work, fault, meanwhile) -> tuple[bool, Any]:
        self.buried, self.written = [], set()
        task = asyncio.ensure_future(work)
        plan = [(number, self._beside(kind, which, text), False) for number, kind, which, text in meanwhile]
        if fault is not None:
            plan.append((fault[0], _fault(fault[1], task), True))
        self.rig.points.arm(plan)
        try:
            return await finished_or_crashed(task)
        finally:
            self.rig.points.arm([])

    def _beside(self, kind: str, which: int, version: int) -> Callable:
        steps = {
            "bury": lambda: self.bury(which),
            "note": lambda: self.note(which, version),
            "upload": lambda: self.upload(*_own(which), version),
        }
        return steps[kind]


def _fault(kind: str, task: asyncio.Future) -> Callable:
    async def happen() -> None:
        if kind == "crash":
            raise Crash
        if kind == "unavailable":
            raise StoreUnavailable
        task.cancel()

    return happen


def _own(which: int) -> tuple[str, str]:
    return str(uuid5(UUID(int=3), str(which % 2))), f"up/{which % 2}"


def _copy(gen: Gen) -> Gen:
    return replace(gen, docs=dict(gen.docs))


async def _one(incoming):
    yield incoming


class Histories(RuleBasedStateMachine):
    rig: ClassVar[Rig]

    def run(self, work) -> None:
        self.rig.runner.run(work)

    @initialize(versions=st.lists(TEXTS, max_size=4))
    def begin(self, versions):
        self.world = World(self.rig)
        self.run(self.world.begin())
        for number, version in enumerate(versions):
            self.write_file(number, version)
        self.run(self.world.ingest(None, []))

    @rule(name=FILES, version=TEXTS)
    def write_file(self, name, version):
        (self.world.folder / f"{name}.txt").write_text(text_of(version))

    @rule(which=WHICH, to=FILES)
    def move_file(self, which, to):
        if (paths := self.world.paths()) and not (new := self.world.folder / f"{to}.txt").exists():
            paths[which % len(paths)].rename(new)

    @rule(which=WHICH)
    def remove_file(self, which):
        if paths := self.world.paths():
            paths[which % len(paths)].unlink()

    @rule(fault=FAULTS, meanwhile=MEANWHILE)
    def ingest(self, fault, meanwhile):
        self.run(self.world.ingest(fault, meanwhile))

    @rule(which=WHICH, version=TEXTS, kind=st.sampled_from(["own", "replace", "displace"]))
    def upload(self, which, version, kind):
        docs = self.world.active.docs
        document_id, source = _own(which)
        if kind != "own" and docs:
            document_id = sorted(docs)[which % len(docs)]
            source = docs[document_id].source
        if kind == "displace":
            document_id = str(uuid4())
        self.run(self.world.upload(document_id, source, version))

    @rule(which=WHICH, version=TEXTS)
    def note(self, which, version):
        self.run(self.world.note(which, version))

    @rule(which=WHICH)
    def bury(self, which):
        self.world.buried, self.world.written = [], set()
        self.run(self.world.bury(which))

    @rule(
        chunk=st.integers(1, 2),
        model=st.sampled_from(sorted(IDENTITIES)),
        resume=st.booleans(),
        activate=st.booleans(),
        fault=FAULTS,
        meanwhile=MEANWHILE,
    )
    def reindex(self, **how):
        self.run(self.world.reindex(**how))

    @rule(which=WHICH, fault=FAULTS, meanwhile=MEANWHILE)
    def activate(self, which, fault, meanwhile):
        self.run(self.world.activate(which, fault=fault, meanwhile=meanwhile))

    @rule(keep=st.integers(0, 2))
    def prune(self, keep):
        self.run(self.world.prune(keep))

    @invariant()
    def the_index_is_what_the_model_says(self):
        if hasattr(self, "world"):
            self.run(self.world.check())


@pytest.mark.hypothesis
@pytest.mark.timeout(36_000 if SOAK else 600)
def test_the_index_equals_its_model_after_each_step_of_any_history(dsn, shared_dir, tmp_path, monkeypatch):
    chosen = make_settings(dsn, shared_dir)
    points = Points()
    stop_in_transactions(monkeypatch, points)
    monkeypatch.setattr(originals, "SPARED", timedelta(0))
    stamina.set_testing(True, attempts=6)
    try:
        with asyncio.Runner() as runner:
            database = runner.run(Database.open(dsn, settings=chosen.database))
            Histories.rig = Rig(runner, database, points, tmp_path, chosen)
            run_state_machine_as_test(Histories, settings=SEARCH)
            runner.run(database.close())
    finally:
        stamina.set_testing(False)
