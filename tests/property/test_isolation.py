"""Random tenants, people, groups, readers and collections against a model in plain Python.

What is returned is a subset of what is allowed, by every way that a passage leaves the database; and what is allowed
and best is returned: the same as exact search over the allowed documents alone gives.
"""

import asyncio
import random

import numpy as np
import pytest
from support.corpus import CHUNKING, DIMENSION, IDENTITY, chunks, document, vector
from support.sql import execute

from config.settings import RetrievalSettings
from storage import chunk_tables
from storage.caller import Caller, acting_as
from storage.collections.collections import Collections
from storage.database import Database
from storage.documents.catalog import DocumentCatalog
from storage.documents.readers import DocumentReaders
from storage.documents.text import DocumentTexts
from storage.documents.writes import Documents
from storage.errors import CollectionNotFound, DocumentNotFound, FootnoteError, TableGone
from storage.search import readability
from storage.search.neighbours import Span, Surroundings
from storage.search.search import ChunkSearch, SearchRequest
from storage.vector_store import ChunkStore

TENANTS = ("red", "green", "blue")
PEOPLE = ("ada", "bob", "eve")
GROUPS = ("hr", "eng", "ops")
COLLECTIONS = ("default", "more")
DOCUMENTS = 25
WORDS = ("apple", "pear", "fig", "plum", "quince")
SETTINGS = RetrievalSettings()


def some_readers(dice):
    entries = ["*", *(f"user:{name}" for name in PEOPLE), *(f"group:{name}" for name in GROUPS)]
    weights = [2, *([1] * (len(entries) - 1))]
    return tuple(dict.fromkeys(dice.choices(entries, weights, k=dice.randint(0, 3))))


def some_caller(dice):
    groups = tuple(dice.sample(GROUPS, dice.randint(0, 2)))
    return Caller(dice.choice(TENANTS), dice.choice(PEOPLE), groups, sees_all=dice.random() < 0.15)


class Model:
    """The documents of all tenants, as Python has them."""

    def __init__(self):
        self.texts = {}  # (tenant, collection, id) -> text
        self.readers = {}

    def allowed(self, who, collection):
        """Return the texts that a caller may read, by id."""
        return {
            key[2]: text
            for key, text in self.texts.items()
            if key[:2] == (who.tenant, collection) and (who.sees_all or set(self.readers[key]) & set(who.readers))
        }


async def build(database, dsn, dice):
    model, generations = Model(), {}
    for tenant in TENANTS:
        execute(dsn, "INSERT INTO footnote.tenants (id) VALUES (%s)", tenant)
        with acting_as(Caller(tenant, "builder", sees_all=True)):
            for collection in COLLECTIONS:
                made = await Collections(database).create(collection, embedding=IDENTITY, chunking=CHUNKING)
                generations[tenant, collection] = made
                store = Documents(database, generation=made)
                for number in range(DOCUMENTS):
                    text = f"{dice.choice(WORDS)} {dice.choice(WORDS)} {tenant} {collection} {number}"
                    new = document(f"d{number}", content=text)
                    await store.write(new, chunks(new, text), replaces=None)
                    key = (tenant, collection, new.id)
                    model.texts[key], model.readers[key] = text, some_readers(dice)
                    await DocumentReaders(database).put(new.id, model.readers[key], collection=collection)
                async with database.dedicated(as_owner=True) as connection:
                    await chunk_tables.build_index(
                        connection, made.id, dimension=DIMENSION, options=chunk_tables.IndexOptions()
                    )
    return model, generations


def best(texts, asked, limit):
    distances = sorted((1 - float(np.dot(vector(text), asked)), text) for text in texts)
    return [text for _, text in distances[:limit]]


async def look(database, model, generations, dice):
    """Ask as somebody, in one of the ways that there are."""
    who, collection, limit = some_caller(dice), dice.choice(COLLECTIONS), dice.choice((1, 5, 40))
    allowed = model.allowed(who, collection)
    # mostly one's own; at times another tenant's generation, whose number one might guess
    whose = who.tenant if dice.random() < 0.8 else dice.choice(TENANTS)
    generation, question = generations[whose, collection], f"{dice.choice(WORDS)} {dice.choice(WORDS)}"
    known_id = dice.choice([key[2] for key in model.texts])
    is_own = whose == who.tenant
    with acting_as(who):
        search = ChunkSearch(database, generation=generation, settings=SETTINGS)
        try:
            vectors = await search.search(SearchRequest("vector", limit=limit, embedding=vector(question)))
            words = await search.search(SearchRequest("keyword", limit=limit, text=question))
            both = await search.search(SearchRequest("hybrid", limit=limit, text=question, embedding=vector(question)))
        except TableGone:
            assert not is_own
            vectors = words = both = []
        if is_own:
            assert [hit.text for hit in vectors] == best(allowed.values(), vector(question), limit), who
            matching = {text for text in allowed.values() if set(question.split()) & set(text.split())}
            assert {hit.text for hit in words} <= matching
            assert len(words) == min(limit, len(matching)), who
            assert len(both) == min(limit, len(allowed)), who
        seen = {hit.text for hit in (*vectors, *words, *both)}
        around = Surroundings(database, generation=generation)
        seen |= {each.text for each in await around.beginning(known_id, characters=1000)}
        seen |= {each.text for each in await around.around([Span(known_id, 0, 9, 0, 10_000)])}
        store = ChunkStore(database, generation=generation, settings=SETTINGS)
        seen |= {node.get_content() for node in await store.aget_nodes([hit.node_id for hit in both])}
        vectors_of = await Documents(database, generation=generation).vectors(known_id)
        assert bool(vectors_of) == (is_own and known_id in allowed)
        listed = await DocumentCatalog(database).list(collection=collection, limit=100)
        assert {info.id for info in listed.items} == set(allowed)
        assert (await Collections(database).info(collection)).documents == len(allowed)
        try:
            seen.add((await DocumentTexts(database).whole(known_id, collection=collection)).text)
            assert known_id in allowed
        except DocumentNotFound:
            assert known_id not in allowed
    assert seen <= set(allowed.values()), who


async def change(database, model, dice):
    """Give a document other readers, as an administrator."""
    tenant, collection, document_id = key = dice.choice(sorted(model.texts))
    readers = some_readers(dice)
    with acting_as(Caller(tenant, "root", sees_all=True)):
        await DocumentReaders(database).put(document_id, readers, collection=collection)
    model.readers[key] = readers


@pytest.mark.parametrize("named_to", [(2, 2.0), (readability.MANY, 2.0), (readability.MANY, readability.MUCH)])
@pytest.mark.parametrize("seed", range(2))
async def test_what_is_returned_is_allowed_and_what_is_allowed_and_best_is_returned(
    database, dsn, monkeypatch, seed, named_to
):
    for name, bound in zip(("MANY", "MUCH"), named_to, strict=True):
        monkeypatch.setattr(readability, name, bound)
    dice = random.Random(seed)  # noqa: S311 (dice)
    model, generations = await build(database, dsn, dice)
    for _ in range(40):
        await look(database, model, generations, dice)
        if dice.random() < 0.4:
            await change(database, model, dice)


async def test_two_connections_and_three_hundred_callers_of_thirty_tenants_are_not_mixed_up(settings, dsn):
    small = settings.database.model_copy(update={"pool_min": 2, "pool_max": 2})
    database = await Database.open(dsn, settings=small)
    tenants = [f"t{number}" for number in range(30)]
    for tenant in tenants:
        execute(dsn, "INSERT INTO footnote.tenants (id) VALUES (%s)", tenant)
        with acting_as(Caller(tenant, "builder", sees_all=True)):
            made = await Collections(database).create("default", embedding=IDENTITY, chunking=CHUNKING)
            for subject in ("ada", "bob"):
                new = document(f"{tenant} {subject}")
                await Documents(database, generation=made).write(new, chunks(new, new.title), replaces=None)
                await DocumentReaders(database).put(new.id, [f"user:{subject}"], collection="default")

    async def ask(number):
        who = Caller(tenants[number % 30], ("ada", "bob")[number // 30 % 2])
        with acting_as(who):
            for turn in range(4):
                generation = await Collections(database).active("default")
                assert generation.tenant_id == who.tenant
                search = ChunkSearch(database, generation=generation, settings=SETTINGS)
                hits = await search.search(SearchRequest("vector", limit=10, embedding=vector("q")))
                assert [hit.text for hit in hits] == [f"{who.tenant} {who.subject}"]
                if turn == number % 4:  # errors and cancellations leave nothing behind
                    with pytest.raises(FootnoteError):
                        await Collections(database).active("no-such")
                    doomed = asyncio.create_task(Collections(database).list(limit=5))
                    await asyncio.sleep(0)
                    doomed.cancel()

    await asyncio.gather(*(ask(number) for number in range(300)))
    with pytest.raises(CollectionNotFound), acting_as(Caller("t", "ada")):
        await Collections(database).active("default")
    await database.close()
