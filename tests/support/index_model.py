"""What an index should hold, in plain Python, and made-up readers and models that stop at points of a test's choice."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from config.settings import IngestionSettings, Settings
from embedding.cache import Embedders
from ingestion.chunking.splitter import embed_text
from ingestion.identity import embedded_hash
from ingestion.pipeline.factory import Indexing
from ingestion.pipeline.pipeline import Embeds, Pipeline
from ingestion.types import Chunk, Parsed, Skipped
from storage.collections.generations import Generations
from storage.database import Database
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import StoreUnavailable
from storage.generation import Chunking, EmbeddingIdentity, Generation

if TYPE_CHECKING:
    import asyncpg

IDENTITIES = {
    name: EmbeddingIdentity(f"made-up {name}", "1", f"fingerprint of {name}", dimension, normalized=True)
    for name, dimension in {"one": 16, "other": 8}.items()
}
PARAGRAPH = 64  # tokens that one takes
VERSIONS = 10  # texts that there are


class Crash(Exception):
    """The process ends here, as far as the work in hand is concerned."""


def words_of(text: str) -> frozenset[str]:
    """Return the words by which a document is found."""
    return frozenset(word for word in text.split() if word.startswith("w"))


def text_of(version: int) -> str:
    """Return a text of one to four paragraphs, each with a word of its own."""
    return "\n\n".join(f"w{version}p{part} is said here" for part in range(1 + version % 4))


def chunking_of(paragraphs: int) -> Chunking:
    """Return the chunking that puts so many paragraphs into a chunk."""
    return Chunking(tokens=PARAGRAPH * paragraphs, overlap=0, language="english")


def split(text: str, chunking: Chunking) -> tuple[Chunk, ...]:
    """Split a text as the made-up reader does."""
    paragraphs = text.split("\n\n")
    size = chunking.tokens // PARAGRAPH
    chunks = []
    at = 0
    for index, begin in enumerate(range(0, len(paragraphs), size)):
        part = "\n\n".join(paragraphs[begin : begin + size])
        chunks.append(Chunk(index=index, text=part, start=at, end=at + len(part)))
        at += len(part) + 2
    return tuple(chunks)


def vector_of(identity: EmbeddingIdentity, text: str) -> np.ndarray:
    """Return the unit vector that a made-up model gives for a text."""
    seed = int.from_bytes(hashlib.sha256(f"{identity.fingerprint}\n{text}".encode()).digest()[:8], "big")
    made = np.random.default_rng(seed).normal(size=identity.dimension).astype("float32")
    return made / np.linalg.norm(made)


@dataclass
class Points:
    """Places in the code that a test may stop at, in the order in which they are reached.

    Attributes:
        plan: what happens from the so-and-so-manieth point on, the next first; ``inside`` a transaction only faults do.

    """

    plan: list[tuple[int, Callable[[], Awaitable[None]], bool]] = field(default_factory=list)
    passed: int = 0
    is_busy: bool = False

    def arm(self, plan: Iterable[tuple[int, Callable[[], Awaitable[None]], bool]]) -> None:
        """Begin to count anew."""
        self.passed, self.plan = 0, sorted(plan, key=lambda step: step[0])

    async def reach(self, *, inside: bool = False) -> None:
        """Take note of a point, and do what is planned there."""
        if self.is_busy:
            return
        self.passed += 1
        if self.plan and self.passed > self.plan[0][0] and (self.plan[0][2] or not inside):
            _, action, _ = self.plan.pop(0)
            self.is_busy = True
            try:
                await action()
            finally:
                self.is_busy = False


@dataclass
class MadeUpReader:
    """Reads text files."""

    chunking: Chunking
    points: Points
    width: int = 2

    async def parse(self, path: Path) -> Parsed | Skipped:
        """Read and split a file."""
        await self.points.reach()
        try:
            data = await asyncio.to_thread(path.read_bytes)
        except FileNotFoundError:
            return Skipped(path, "it is gone")
        chunks = split(data.decode(), self.chunking)
        digest = hashlib.sha256(data).hexdigest()
        return Parsed(path, digest[:6], len(data), {}, chunks, content_hash=digest, size=len(data))


@dataclass
class MadeUpEmbedder:
    """Embeds; counts the texts that it was asked for."""

    identity: EmbeddingIdentity
    points: Points
    seen: int = 0
    width: int = 1

    async def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed passages."""
        await self.points.reach()
        self.seen += len(texts)
        await self.points.reach()
        return np.stack([vector_of(self.identity, text) for text in texts])


class PointedGenerations(Generations):
    """Stops before and after its steps."""

    points: Points

    async def finish(self, generation, **said):
        await self.points.reach()
        await super().finish(generation, **said)
        await self.points.reach()

    async def tidy(self, generation, **bounds):
        await self.points.reach()
        await super().tidy(generation, **bounds)
        await self.points.reach()

    async def _flip(self, connection, collection, name, **how):
        flip = await super()._flip(connection, collection, name, **how)
        await self.points.reach(inside=True)
        return flip


class OnlyWanted(Embedders):
    """Lets what was built with the wanted model be written to."""

    def __init__(self, indexing: MadeUpIndexing, settings: Settings) -> None:
        super().__init__(settings)
        self._indexing = indexing

    async def require_writable(self, generation: Generation, *, name: str | None = None) -> None:
        """Raise unless it was."""
        wanted, _ = self._indexing.wanted
        generation.require_embedding({wanted.fingerprint}, model=name or wanted.model)


class MadeUpIndexing(Indexing):
    """Makes pipelines with made-up readers and models; a new generation gets `wanted`."""

    def __init__(self, database: Database, *, settings: Settings, points: Points) -> None:
        super().__init__(database, settings=settings, stack=AsyncExitStack())
        self.points = points
        self.wanted = (IDENTITIES["one"], chunking_of(1))
        self.embedded = 0
        self.generations = PointedGenerations(database)
        self.generations.points = points
        self.embedders = OnlyWanted(self, settings)

    async def configured(self) -> tuple[EmbeddingIdentity, Chunking]:
        """Return what a new generation is built with."""
        return self.wanted

    async def configured_for(self, _active: Generation) -> tuple[EmbeddingIdentity, Chunking]:
        """Return the same."""
        return self.wanted

    async def pipeline(self, generation, *, beside=None, first=None, bounded=False) -> Pipeline:  # noqa: ARG002 (no quota)
        """Return a pipeline that is made up but for what is tested."""
        embedder = MadeUpEmbedder(generation.embedding, self.points)

        async def opened() -> Embeds:
            return embedder

        return Pipeline(
            self.database,
            generation=generation,
            parser=MadeUpReader(generation.chunking, self.points),
            open_embedder=opened,
            settings=IngestionSettings(batch_chunks=3),
            beside=beside,
            first=first,
        )


def stop_in_transactions(monkeypatch: pytest.MonkeyPatch, points: Points) -> None:
    """Let the points be reached within each document's transaction too, before its commit and after."""
    upsert, write, put = Documents._upsert, Documents.write, Originals.put

    async def upserting(self, connection, document, *, chunks):
        await points.reach(inside=True)
        await upsert(self, connection, document, chunks=chunks)
        await points.reach(inside=True)

    async def writing(self, document, chunks, **how):
        outcome = await write(self, document, chunks, **how)
        await points.reach()
        return outcome

    async def putting(self, path, *, content_hash):
        await put(self, path, content_hash=content_hash)
        await points.reach()

    monkeypatch.setattr(Documents, "_upsert", upserting)
    monkeypatch.setattr(Documents, "write", writing)
    monkeypatch.setattr(Originals, "put", putting)


@dataclass(frozen=True)
class Doc:
    """A document as it should be.

    Attributes:
        words: of its text.
        tick: of the step that wrote it last.
        is_file: it was read from the folder, where its source is its path.

    """

    source: str
    words: frozenset[str]
    tick: int
    is_file: bool

    @property
    def shown(self) -> tuple[str, frozenset[str]]:
        """What a reader can see of it."""
        return self.source, self.words


@dataclass
class Gen:
    """A generation as it should be; `docs` by id.

    Attributes:
        id: tells two apart that have one name, since the first was dropped before it ever answered.

    """

    name: str
    identity: EmbeddingIdentity
    chunking: Chunking
    state: str
    docs: dict[str, Doc] = field(default_factory=dict)
    id: int = 0

    def at(self, source: str) -> str | None:
        """Return the id of the document of a source."""
        return next((each for each, doc in self.docs.items() if doc.source == source), None)

    def put(self, document_id: str, doc: Doc) -> None:
        """Write a document; another one that has the source of a copy gives way."""
        holder = self.at(doc.source)
        if holder not in {None, document_id}:
            del self.docs[holder]
        self.docs[document_id] = doc

    def carry(self, reference: Gen) -> None:
        """Take over what is newer in another."""
        while lagging := self.lagging(reference):
            for document_id in lagging:
                self.put(document_id, reference.docs[document_id])

    def lagging(self, reference: Gen) -> list[str]:
        """Return what is missing here, or newer in another."""
        return sorted(
            document_id
            for document_id, doc in reference.docs.items()
            if (own := self.docs.get(document_id)) is None or (doc.tick > own.tick and doc.shown != own.shown)
        )


def with_files(
    before: Gen, actual: Gen, *, listing: dict[str, str], tick: int, beside: Gen | None = None, buried: int = 0
) -> Gen:
    """Return what a generation should hold after it read a folder.

    `actual` only says which id a file got that neither generation knows by its source: one of a document that has its
    bytes, and whose own file is gone, or a new one. `buried` documents were deleted meanwhile, which leaves open
    whether a file took over the id of one.
    """
    expected = replace(before, docs=dict(before.docs))
    others = dict(beside.docs) if beside else {}
    news: dict[frozenset[str], list[str]] = {}
    for source, text in listing.items():
        known = before.at(source) or next((each for each, doc in others.items() if doc.source == source), None)
        known = known if known is None or _is_free(before, known, source, listing) else None
        doc = Doc(source, words_of(text), tick, is_file=True)
        if known is None:
            news.setdefault(doc.words, []).append(source)
        elif (stored := before.docs.get(known)) is None or stored.shown != doc.shown:
            expected.put(known, doc)
    for words, sources in news.items():
        gone = {each for each, doc in before.docs.items() if _is_gone(doc, listing) and doc.words == words}
        beside_gone = {each for each, doc in others.items() if _is_gone(doc, listing) and doc.words == words}
        sure = gone | (beside_gone - set(before.docs))
        got = [each for source in sources if (each := actual.at(source)) is not None]
        taken = set(got) & (gone | beside_gone)
        assert len(got) == len(set(got)), "two files became one document"
        assert not (set(got) - taken) & (set(before.docs) | set(others)), "a file took the place of another document"
        if len(got) == len(sources) and not buried:
            assert len(taken) >= min(len(sources), len(sure)), "a file that was moved became another document"
        for source in sources:
            if (each := actual.at(source)) is not None:
                expected.put(each, Doc(source, words, tick, is_file=True))
    return expected


def _is_gone(doc: Doc, listing: dict[str, str]) -> bool:
    return doc.is_file and doc.source not in listing


def _is_free(before: Gen, document_id: str, source: str, listing: dict[str, str]) -> bool:
    """Tell whether a document has no other file by now."""
    stored = before.docs.get(document_id)
    return stored is None or stored.source == source or _is_gone(stored, listing)


async def actual_state(database: Database, collection: str) -> dict[str, Gen]:
    """Return the generations that there are, by name, each document checked to be whole; ticks are unknown."""
    async with database.connection() as connection:
        rows = await connection.fetch(
            """SELECT g.* FROM footnote.generations g JOIN footnote.collections c ON c.id = g.collection_id
               WHERE c.name = $1 ORDER BY number""",
            collection,
        )
        tables = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'footnote' AND tablename LIKE 'data_generation_%'"
        )
        ids = await connection.fetch("SELECT id FROM footnote.generations")
        assert {row["tablename"] for row in tables} == {f"data_generation_{row['id']}" for row in ids}
        assert [row["state"] for row in rows].count("active") == 1
        return {str(row["number"]): await _generation(connection, row) for row in rows}


async def _generation(connection: asyncpg.Connection, row: asyncpg.Record) -> Gen:
    identity = next(each for each in IDENTITIES.values() if each.fingerprint == row["embedding_fingerprint"])
    chunking = Chunking(row["chunk_tokens"], row["chunk_overlap"], row["language"])
    gen = Gen(str(row["number"]), identity, chunking, row["state"], id=row["id"])
    documents = await connection.fetch("SELECT * FROM footnote.documents WHERE generation_id = $1", row["id"])
    chunks = await connection.fetch(
        f"SELECT * FROM footnote.data_generation_{row['id']} ORDER BY document_id, chunk_index"
    )
    by_document: dict[str, list[asyncpg.Record]] = {each["id"]: [] for each in documents}
    for chunk in chunks:
        by_document[chunk["document_id"]].append(chunk)
    for each in documents:
        own = by_document[each["id"]]
        assert [chunk["chunk_index"] for chunk in own] == list(range(each["chunks"]))
        await _check_chunks(connection, each, own, gen)
        words = words_of("\n\n".join(chunk["text"] for chunk in own))
        gen.docs[each["id"]] = Doc(each["source"], words, 0, is_file=each["location"] is not None)
    return gen


async def _check_chunks(connection, document: asyncpg.Record, chunks: list[asyncpg.Record], gen: Gen) -> None:
    if document["original"] is not None:
        blocks = await connection.fetch(
            "SELECT data FROM footnote.original_blocks WHERE content_hash = $1 ORDER BY number", document["original"]
        )
        data = b"".join(block["data"] for block in blocks)
        assert hashlib.sha256(data).hexdigest() == document["original"] == document["content_hash"]
        expected = split(data.decode(), gen.chunking)
        assert [(c["text"], c["start_char"], c["end_char"]) for c in chunks] == [
            (c.text, c.start, c.end) for c in expected
        ]
        embedded = [embed_text(document["original"][:6], each) for each in expected]
        assert [chunk["embedded_hash"] for chunk in chunks] == [embedded_hash(text) for text in embedded]
        for chunk, text in zip(chunks, embedded, strict=True):
            np.testing.assert_allclose(_vector(chunk), vector_of(gen.identity, text), atol=1e-6)
    for chunk in chunks:
        assert chunk["node_id"]
        if chunk["embedded_hash"] is None:
            np.testing.assert_allclose(_vector(chunk), vector_of(gen.identity, chunk["text"]), atol=1e-6)


def _vector(chunk: asyncpg.Record) -> np.ndarray:
    return np.asarray(chunk["embedding"].to_numpy(), dtype=np.float32)


def adopted(actual: Gen, *, before: Gen, after: Gen, between: Gen | None = None) -> Gen:
    """Return what an interrupted step left: of each document the old version or the new one, and nothing else.

    `between` is what there was before other writers came in the midst of the step.
    """
    assert set(before.docs) <= set(actual.docs) | (set(before.docs) - set(after.docs)), "a document was lost"
    found = {}
    for document_id, doc in actual.docs.items():
        versions = [gen.docs[document_id] for gen in (after, between, before) if gen and document_id in gen.docs]
        found[document_id] = next((each for each in versions if each.shown == doc.shown), None)
        assert found[document_id], "a document is neither what it was nor what it should be"
    return replace(actual, docs=found)


async def finished_or_crashed(work: Awaitable[object]) -> tuple[bool, object]:
    """Do work that may be made to crash; tell whether it came to its end, and its result."""
    task = asyncio.ensure_future(work)
    try:
        return True, await task
    except asyncio.CancelledError:
        return False, None
    except BaseException as exc:
        if _is_crash(exc):
            return False, None
        raise


def _is_crash(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_crash, error.exceptions))
    return isinstance(error, Crash | StoreUnavailable | asyncio.CancelledError)
