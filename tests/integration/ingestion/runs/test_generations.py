"""Edges of generations: what cannot be activated, dropped or written to, and what a build must not lose."""

from __future__ import annotations

import asyncio
import itertools
import json
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import uuid4

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from support.corpus import chunks, document, fill, make_collection
from support.index_model import IDENTITIES, MadeUpIndexing, Points, actual_state, chunking_of, vector_of

from config.settings import IngestionSettings, RetrievalSettings
from ingestion.inputs.local_files import LocalFiles
from ingestion.runs.gate import Gate, GoldenQuestion, InvalidGate, read_golden
from ingestion.runs.reindexing import Reindexing, catch_up
from server.services.pinned_generations import PinnedGenerations
from storage.collections.generations import Generations
from storage.database import Database
from storage.deletions import lock_flips, mark_deleted
from storage.documents.writes import Documents
from storage.errors import (
    BuildRunning,
    CollectionNotFound,
    GenerationBusy,
    GenerationNotFound,
    GenerationNotReady,
    GenerationRetired,
)
from storage.leases import Leases
from storage.search.filters import Filter, FilterGroup
from storage.search.search import ChunkSearch, SearchRequest
from storage.vector_store import ChunkStore

NAME = "docs"
PATIENCE = 20


class Rig:
    """One collection over a folder, its models made up."""

    def __init__(self, database, settings, folder):
        self.database, self.folder, self.points = database, folder, Points()
        self.settings = settings
        self.indexing = MadeUpIndexing(database, settings=settings, points=self.points)
        self.generations = self.indexing.generations
        self.sizes = itertools.cycle([2, 1])

    def write(self, **texts):
        for name, text in texts.items():
            (self.folder / f"{name}.txt").write_text(text)

    async def active(self):
        return await self.indexing.collections.active(NAME)

    def files(self, generation, beside=None):
        settings = IngestionSettings()
        return LocalFiles(
            self.database, generation=generation, beside=beside, settings=settings, base=self.folder,
            named=[str(self.folder)],
        )  # fmt: skip

    async def ingest(self):
        generation = await self.active()
        pipeline = await self.indexing.pipeline(generation)
        paths = sorted(self.folder.iterdir())
        files = self.files(generation).changed(paths, report=pipeline.report, trace=pipeline.trace)
        return await pipeline.run(files)

    async def reindex(self, *, size=None, model="one", activate="always", resume=False, gate=None, force=False):
        self.indexing.wanted = (IDENTITIES[model], chunking_of(size or next(self.sizes)))
        return await Reindexing(self.indexing, active=await self.active(), force=force).run(
            sorted(self.folder.iterdir()), files=self.files, resume=resume, activate=activate, gate=gate
        )

    async def rollback(self):
        flip = await self.generations.activate(NAME, await self.generations.previous(NAME))
        reference = await self.generations.get(NAME, flip.before)
        return await catch_up(self.indexing, target=await self.active(), reference=reference)

    async def states(self):
        return {name: gen.state for name, gen in (await actual_state(self.database, NAME)).items()}

    async def sources(self, name=None):
        gens = await actual_state(self.database, NAME)
        return {doc.source: doc.words for doc in gens[name or (await self.active()).name].docs.values()}

    async def waiters(self):
        async with self.database.dedicated(as_owner=True) as connection:
            return await connection.fetchval(
                """SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database OR l.database IS NULL
                   JOIN pg_stat_activity a ON a.pid = l.pid AND a.datname = current_database()
                   WHERE NOT granted AND d.datname = current_database()"""
            )

    async def until_somebody_waits(self):
        async with asyncio.timeout(PATIENCE):
            while not await self.waiters():  # noqa: ASYNC110 (a lock does not tell)
                await asyncio.sleep(0.01)


@pytest.fixture
async def rig(database, settings, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    made = Rig(database, settings, folder)
    made.write(a="wa1\n\nwa2", b="wb1")
    await made.indexing.ensure(NAME)
    await made.ingest()
    return made


def nodes(document_id, *texts, identity=IDENTITIES["one"], **metadata):
    return [
        TextNode(
            id_=uuid4().hex,
            text=text,
            metadata=metadata,
            embedding=vector_of(identity, text).tolist(),
            relationships={NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document_id)},
        )
        for text in texts
    ]


async def test_what_is_unknown_unbuilt_or_failed_is_not_activated(rig):
    for name in ("2", "0", "-1", "x", "9" * 30, "²"):
        with pytest.raises(GenerationNotFound):
            await rig.generations.activate(NAME, name)
    with pytest.raises(CollectionNotFound):
        await rig.generations.activate("nothing", "1")
    generation = await rig.generations.begin(
        await rig.active(), embedding=IDENTITIES["one"], chunking=chunking_of(2), fingerprint="f", resume=False
    )
    for state in ("building", "failed"):
        async with rig.database.dedicated(as_owner=True) as connection:
            await connection.execute("UPDATE footnote.generations SET state = $2 WHERE id = $1", generation.id, state)
        with pytest.raises(GenerationNotReady, match="--reindex --resume"):
            await rig.generations.activate(NAME, generation.name)
    assert (await rig.active()).name == "1"
    assert await rig.generations.activate(NAME, "1") == await rig.generations.activate(NAME, "1", complete=True)


async def test_one_process_builds_at_a_time_and_the_next_may_when_it_has_ended(rig):
    reached, go = asyncio.Event(), asyncio.Event()

    async def stop():
        reached.set()
        await go.wait()

    rig.points.arm([(1, stop, False)])
    first = asyncio.create_task(rig.reindex())
    await asyncio.wait_for(reached.wait(), PATIENCE)
    with pytest.raises(BuildRunning):
        await rig.reindex()
    go.set()
    assert (await first).activated
    assert (await rig.reindex()).activated
    assert await rig.states() == {"1": "retired", "2": "retired", "3": "active"}


async def test_pruning_spares_the_newest_those_that_answered_of_late_and_those_that_a_server_reads(rig):
    for _ in range(4):
        await rig.reindex()
    assert await rig.generations.prune(NAME, keep=4, spared_seconds=0) == []
    assert await rig.generations.prune(NAME, keep=0, spared_seconds=3600) == []
    async with server_of(rig) as generations:
        await rig.rollback()  # 4 answers, 5 is retired
        async with generations.pinned(NAME) as pinned:
            assert pinned.generation.name == "4"
            await rig.rollback()  # 5 answers again, 4 is held
            await generations.refresh()
            assert await rig.generations.prune(NAME, keep=0, spared_seconds=0) == ["3", "2", "1"]
            assert await rig.states() == {"4": "retired", "5": "active"}
    assert await rig.generations.prune(NAME, keep=0, spared_seconds=0) == ["4"]


@asynccontextmanager
async def server_of(rig, embedders=None):
    leases = Leases(rig.database, seconds=60)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(leases.renewed())
        yield PinnedGenerations(rig.database, leases=leases, embedders=embedders or OpenModels())


class OpenModels:
    """Embedding models that are open at once; knows which are open."""

    def __init__(self):
        self.open = set()

    async def of(self, identity):
        self.open.add(identity.fingerprint)
        return identity.fingerprint

    def give_up_others(self, fingerprints):
        self.open &= fingerprints
        return []


async def test_a_generation_that_answers_again_stays_leased_when_an_old_reader_of_it_ends(rig):
    await rig.reindex()
    async with server_of(rig) as generations:
        await rig.rollback()
        async with generations.pinned(NAME) as pinned:
            assert pinned.generation.name == "1"
            for _ in range(2):  # to the other, and back
                await rig.rollback()
                await generations.refresh()
            async with generations.pinned(NAME) as again:
                assert again.generation.name == "1"
        async with generations.pinned(NAME):
            await rig.rollback()
            kept = generations._leases._kept
            assert any(name.startswith(f"generation {pinned.generation.id} ") for name in kept)
            assert await rig.generations.prune(NAME, keep=0, spared_seconds=0) == []


async def test_a_model_that_is_opened_for_a_collection_is_not_closed_before_that_is_read(rig, monkeypatch):
    models = OpenModels()
    async with server_of(rig, models) as generations:
        take = generations._leases.take

        async def slowly(connection, name):
            await generations.refresh()
            return await take(connection, name)

        await rig.indexing.collections.ensure("other", embedding=IDENTITIES["other"], chunking=chunking_of(1))
        async with generations.pinned(NAME):
            pass
        monkeypatch.setattr(generations._leases, "take", slowly)
        async with generations.pinned("other") as pinned:
            assert pinned.require_embedder() in models.open


async def test_the_generation_that_answers_is_not_discarded_and_others_are(rig):
    await rig.reindex(activate="never")
    with pytest.raises(GenerationNotReady, match="activate another one first"):
        await rig.generations.discard(NAME, "1")
    with pytest.raises(GenerationNotFound):
        await rig.generations.discard(NAME, "7")
    await rig.generations.discard(NAME, "2")
    assert await rig.states() == {"1": "active"}


async def test_what_answered_before_is_named_and_there_is_nothing_before_the_first(rig):
    with pytest.raises(GenerationNotReady, match="no generation to go back to"):
        await rig.generations.previous(NAME)
    await rig.reindex()
    await rig.reindex()
    assert await rig.generations.previous(NAME) == "2"
    await rig.rollback()
    assert await rig.generations.previous(NAME) == "3"


async def test_generations_are_listed_in_pages_the_newest_first(rig):
    for _ in range(2):
        await rig.reindex()
    first = await rig.generations.list(NAME, limit=2)
    second = await rig.generations.list(NAME, limit=2, cursor=first.next_cursor)
    assert [each.name for each in (*first.items, *second.items)] == ["3", "2", "1"]
    assert (first.items[0].documents, first.items[0].chunks, second.next_cursor) == (2, 3, None)
    assert first.items[0].report["build"]["activated"]


async def test_a_writer_of_a_generation_that_was_retired_is_refused_and_writes_nothing(rig):
    old = Documents(rig.database, generation=await rig.active())
    await rig.reindex()
    late = document("late")
    with pytest.raises(GenerationRetired):
        await old.write(late, [], replaces=None)
    assert "late" not in await rig.sources("1")


async def test_an_ingestion_goes_on_in_the_generation_that_took_over_meanwhile(rig):
    from ingestion.inputs.inputs import Inputs
    from ingestion.runs.run import ingest

    await rig.reindex(size=2, activate="never")
    rig.write(c="wc1", d="wd1")
    flipped = []

    async def flip():
        flipped.append(await rig.generations.activate(NAME, "2"))

    rig.points.arm([(0, flip, False)])
    report = await ingest(rig.indexing, Inputs(NAME, [str(rig.folder)], base=rig.folder), watch=lambda _: None)
    assert (report.generation, report.exit_code, len(flipped)) == ("2", 0, 1)
    assert set(await rig.sources("2")) == {"a.txt", "b.txt", "c.txt", "d.txt"}


async def test_a_flip_waits_for_documents_in_hand_and_no_later_one_keeps_it_waiting(rig, monkeypatch):
    await rig.reindex(activate="never")
    old = Documents(rig.database, generation=await rig.active())
    entered, go, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    upsert = Documents._upsert

    async def slowly(documents, connection, document, **how):
        entered.set()
        await (go if document.source == "first" else over).wait()
        await upsert(documents, connection, document, **how)

    monkeypatch.setattr(Documents, "_upsert", slowly)
    made = document("first", revision=await old.next_revision())
    writing = asyncio.create_task(old.write(made, [], replaces=None))
    await asyncio.wait_for(entered.wait(), PATIENCE)
    flipping = asyncio.create_task(rig.generations.activate(NAME, "2"))
    await rig.until_somebody_waits()
    later = asyncio.create_task(old.write(document("second"), [], replaces=None))
    await asyncio.sleep(0.2)
    go.set()
    try:
        assert (await asyncio.wait_for(flipping, PATIENCE)).after == "2"
    finally:
        over.set()
    assert await writing == "written"
    with pytest.raises(GenerationRetired):
        await later


async def test_a_flip_waits_as_long_as_it_says_whatever_other_statements_may_take(rig, settings, monkeypatch):
    await rig.reindex(activate="never")
    hasty = settings.database.model_copy(update={"statement_timeout": 0.2})
    database = await Database.open(settings.database.url.get_secret_value(), settings=hasty)
    active = await rig.active()
    async with rig.database.transaction() as connection:
        await lock_flips(connection, active.collection_id, shared=True)
        monkeypatch.setattr("storage.collections.generations.FLIP_WAIT", 0.3)
        with pytest.raises(GenerationBusy, match=r"longer than 0\.3 s"):
            await Generations(database).activate(NAME, "2")
        monkeypatch.setattr("storage.collections.generations.FLIP_WAIT", PATIENCE)
        flipping = asyncio.create_task(Generations(database).activate(NAME, "2"))
        await asyncio.wait({flipping}, timeout=0.5)  # longer than a statement may take there
        assert not flipping.done()
    assert (await flipping).after == "2"
    await database.close()


async def test_lexemes_that_are_being_counted_keep_no_generation_from_being_activated(rig):
    active = await rig.active()
    async with rig.database.transaction() as counting:  # as `Lexicon.keep_up` does, for minutes
        await counting.execute("SELECT FROM footnote.generations WHERE id = $1 FOR KEY SHARE", active.id)
        await counting.execute(f"SELECT FROM footnote.data_generation_{active.id}")
        async with asyncio.timeout(PATIENCE):
            assert (await rig.reindex()).activated


async def test_a_build_that_cannot_be_activated_for_writers_is_kept(rig, monkeypatch):
    monkeypatch.setattr("storage.collections.generations.FLIP_WAIT", 0.1)
    active = await rig.active()
    async with rig.database.transaction() as writer:
        await lock_flips(writer, active.collection_id, shared=True)
        result = await rig.reindex()
    assert (result.activated, result.exit_code) == (False, 1)
    assert "being written for longer than" in result.kept_because
    assert await rig.states() == {"1": "active", "2": "ready"}
    assert (await rig.generations.activate(NAME, "2", complete=True)).after == "2"


async def test_a_document_is_deleted_while_a_generation_that_has_it_is_pruned(rig):
    await rig.reindex()
    (document_id, *_) = (await actual_state(rig.database, NAME))["1"].docs
    async with rig.database.transaction() as connection:
        await connection.execute("UPDATE footnote.documents SET title = 'x' WHERE id = $1", document_id)
        pruning = asyncio.create_task(rig.generations.prune(NAME, keep=0, spared_seconds=0))
        await rig.until_somebody_waits()
        await mark_deleted(connection, (await rig.active()).collection_id, document_id=document_id)
    assert await pruning == ["1"]
    assert len(await rig.sources()) == 1


async def test_equal_files_that_were_moved_are_all_in_the_new_generation(rig):
    rig.write(copy1="wcopy", copy2="wcopy", copy3="wcopy")
    await rig.ingest()
    ids = set((await actual_state(rig.database, NAME))["1"].docs)
    for number in range(1, 4):
        (rig.folder / f"copy{number}.txt").rename(rig.folder / f"moved{number}.txt")
    await rig.reindex()
    assert set(await rig.sources()) == {"a.txt", "b.txt", "moved1.txt", "moved2.txt", "moved3.txt"}
    assert set((await actual_state(rig.database, NAME))["2"].docs) == ids


async def test_documents_that_came_through_llamaindex_keep_their_words_ids_and_metadata(rig):
    generation = await rig.active()
    store = ChunkStore(rig.database, generation=generation, settings=RetrievalSettings())
    await store.async_add(nodes("read me", "wlong says a lot", "wshort", "wend", colour="blue"))
    result = await rig.reindex()
    assert (result.activated, result.report.carried) == (True, 1)
    docs = (await actual_state(rig.database, NAME))["2"].docs
    assert docs["read me"].words == {"wlong", "wshort", "wend"}
    search = ChunkSearch(rig.database, generation=await rig.active(), settings=RetrievalSettings())
    blue = FilterGroup(filters=[Filter(key="colour", value="blue")])
    hits = await search.search(SearchRequest(mode="keyword", limit=5, text="wshort", filters=blue))
    assert {hit.document_id for hit in hits} == {"read me"}
    assert not (await rig.rollback()).documents  # nothing was changed since


async def test_what_a_deleted_document_had_replaced_does_not_come_back_with_a_rollback(rig):
    generation = await rig.active()
    documents = Documents(rig.database, generation=generation)
    old = document("same.txt", revision=await documents.next_revision())
    await documents.write(old, chunks_of(old, generation), replaces=None)
    await rig.reindex()
    now = Documents(rig.database, generation=await rig.active())
    (holder,) = (await now.states(["same.txt"])).values()
    new = document("another id", revision=await now.next_revision())
    new = type(new)(**{**fields(new), "source": "same.txt"})
    await now.write(new, chunks_of(new, await rig.active()), replaces=None, displaces=holder, is_carried=True)
    assert await now.delete(new.id)
    await rig.rollback()
    assert set(await rig.sources()) == {"a.txt", "b.txt"}


async def test_a_deletion_while_a_generation_catches_up_spares_what_took_the_deleted_ones_place(rig):
    await rig.reindex()
    (rig.folder / "a.txt").rename(rig.folder / "c.txt")
    await rig.ingest()
    rig.write(a="wnew")
    await rig.ingest()
    gens = await actual_state(rig.database, NAME)
    moved = gens["2"].at("c.txt")
    assert gens["1"].at("a.txt") == moved != gens["2"].at("a.txt")
    await rig.generations.activate(NAME, "1")
    active = await rig.active()
    assert await Documents(rig.database, generation=active).delete(moved)
    await catch_up(rig.indexing, target=active, reference=await rig.generations.get(NAME, "2"))
    assert await rig.sources() == {"a.txt": {"wnew"}, "b.txt": {"wb1"}}


def fields(made):
    return {name: getattr(made, name) for name in type(made).__dataclass_fields__}


def chunks_of(made, generation):
    (chunk,) = chunks(made, "wold text")
    values = fields(chunk) | {"embedding": vector_of(generation.embedding, "wold text"), "embedded_hash": None}
    return [type(chunk)(**values)]


class Asked:
    """Models of which one knows which text answers a question."""

    def __init__(self, answers):
        self.answers = answers

    async def of(self, identity):
        return AskedModel(identity, self.answers.get(identity.fingerprint))


class AskedModel:
    def __init__(self, identity, answers):
        self.identity, self.answers = identity, answers

    async def query(self, question):
        return self.answers[question] if self.answers else -self.answers_of_nobody(question)

    def answers_of_nobody(self, question):
        return vector_of(self.identity, question)


@pytest.mark.parametrize(("knows", "reason"), [("one", "recall@1 fell by more than 0.01"), ("other", None)])
async def test_a_generation_that_finds_less_is_kept_and_not_activated_and_a_better_one_is(rig, knows, reason):
    rig.write(**{f"n{number}": f"wn{number}" for number in range(8)})
    await rig.ingest()
    new = await rig.reindex(size=1, model="other", activate="never")
    gens = await actual_state(rig.database, NAME)
    source = {"one": "1", "other": new.after}[knows]
    known = {doc.source: await embedding(rig, source, document_id) for document_id, doc in gens[source].docs.items()}
    rig.indexing.embedders = Asked({IDENTITIES[knows].fingerprint: known})
    golden = [GoldenQuestion(each, frozenset([each])) for each in known if each.startswith("n")]
    gate = Gate(rig.database, settings=with_k(rig.settings, 1), golden=golden)
    result = await rig.reindex(size=1, model="other", activate="if-better", resume=True, gate=gate)
    assert (result.activated, result.kept_because, result.verdict.reason) == (reason is None, reason, reason)
    quality = {"one": result.verdict.old, "other": result.verdict.new}
    assert (quality[knows].recall, quality[knows].mrr) == (1, 1)
    assert (await rig.generations.list(NAME, limit=1)).items[0].report["build"]["gate"]["passed"] is (reason is None)
    assert result.exit_code == int(reason is not None)


async def test_the_gate_finds_as_many_documents_as_it_judges_however_many_passages_one_of_them_gives(
    database, settings
):
    generation = await make_collection(database)
    documents = await fill(database, generation, {name: ("apple of the orchard", {}) for name in ("first", "second")})
    greedy = document("greedy")
    await documents.write(greedy, chunks(greedy, *(f"apple {'apple ' * n}" for n in range(60))), replaces=None)
    golden = [GoldenQuestion("apple", frozenset([name])) for name in ("first", "second", "greedy")]
    gate = Gate(database, settings=with_k(settings, 3), golden=golden)
    assert (await gate.quality(generation, embedder=None)).recall == 1


def with_k(settings, k):
    return settings.model_copy(update={"gate": settings.gate.model_copy(update={"k": k})})


async def embedding(rig, name, document_id):
    generation = await rig.generations.get(NAME, name)
    async with rig.database.connection() as connection:
        found = await connection.fetchval(
            f"SELECT embedding FROM footnote.data_generation_{generation.id} WHERE document_id = $1 LIMIT 1",
            document_id,
        )
    return found.to_numpy()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "[]",
        '"text"',
        '{"question": "q"}',
        '{"question": "q", "documents": []}',
        '{"question": "q", "documents": "d"}',
        '{"question": "q", "documents": [1]}',
        '{"question": " ", "documents": ["d"]}',
        '{"question": 7, "documents": ["d"]}',
        "[" * 100_000,
    ],
)
def test_a_file_of_questions_that_cannot_be_used_is_refused_by_its_line(tmp_path, line):
    path = tmp_path / "golden.jsonl"
    right = json.dumps({"question": "q", "documents": ["d"]}) + "\n"
    path.write_text(f"\n{right}{line}" if line else "\n")
    with pytest.raises(InvalidGate, match="line 3" if line else "0 questions"):
        read_golden(path)


def test_a_file_of_questions_that_is_no_text_or_missing_is_refused(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("binary", "missing", "."):
        with pytest.raises(InvalidGate, match="cannot be read"):
            read_golden(tmp_path / name)
