"""Jobs and flips over a test's database, from code that has no event loop of its own."""

from __future__ import annotations

from typing import TypeVar

from support.databases import in_database
from support.sql import execute
from support.workers import new_job

from storage.collections.collections import Collections
from storage.collections.generations import Generations
from storage.database import Database
from storage.generation import Chunking, EmbeddingIdentity
from storage.jobs.jobs import JobStore

CHUNKING = Chunking(tokens=256, overlap=32, language="english")
T = TypeVar("T")


def submit(dsn: str, *kinds: str) -> None:
    """Put a job of each kind into the queue, of no document."""

    async def work(database: Database) -> None:
        async with database.transaction() as connection:
            for kind in kinds:
                await JobStore(database).submit(connection, new_job(kind))

    in_database(dsn, work)


def empty_the_queue(dsn: str) -> None:
    """Forget every job."""
    execute(dsn, "DELETE FROM footnote.jobs")


def add_collection(dsn: str, name: str, *, embedding: EmbeddingIdentity) -> None:
    """Make a collection with nothing in it."""

    async def work(database: Database) -> None:
        await Collections(database).ensure(name, embedding=embedding, chunking=CHUNKING)

    in_database(dsn, work)


def add_generation(dsn: str, collection: str, *, embedding: EmbeddingIdentity) -> str:
    """Build a generation with nothing in it beside the one that answers; return its name."""

    async def work(database: Database) -> str:
        active, generations = await Collections(database).active(collection), Generations(database)
        async with generations.building(active):
            made = await generations.begin(
                active, embedding=embedding, chunking=CHUNKING, fingerprint="made up", resume=False
            )
            await generations.finish(made, report={})
        return made.name

    return in_database(dsn, work)


def flip(dsn: str, collection: str, name: str) -> None:
    """Let a generation answer."""

    async def work(database: Database) -> None:
        await Generations(database).activate(collection, name)

    in_database(dsn, work)
