"""`router`: the collection and the engine are chosen, by a scripted model or by what the collections hold."""

import asyncio
import json
from contextlib import aclosing
from dataclasses import replace

import pytest
from support.chaptered import index_chaptered
from support.engines import BREAD, HARBOUR, last_messages, scripted, service
from support.model_server import Reply
from support.sql import execute

from server.answers import Question, Sources, Token
from storage.collections.collections import Collections
from storage.errors import CollectionNotFound
from storage.generation import Chunking

PAY = "What is the keeper of the lighthouse paid a month?"
RISE = "How long does sourdough bread rise?"


@pytest.fixture
async def opened(database, embedder, settings, model_server):
    """Return a function that opens the service over two collections, and an empty one."""
    model_server.requests.clear()
    model_server.disconnects = 0
    model_server.default = scripted()
    await index_chaptered(database, embedder, {"bread.md": BREAD}, name="default")
    await index_chaptered(database, embedder, {"harbour.md": HARBOUR}, name="harbour")
    await Collections(database).ensure(
        "empty", embedding=embedder.identity, chunking=Chunking(tokens=48, overlap=0, language="english")
    )

    def make(*, with_model=True, **groups):
        server = model_server if with_model else None
        return service(settings, database=database, embedder=embedder, model_server=server, **groups)

    return make


def choosing(collection, engine=1):
    """Return what the model replies to either of the two choices."""
    return lambda prompt: json.dumps({"choice": collection if "Collection" in prompt else engine, "reason": "so"})


@pytest.mark.parametrize(("question", "collection"), [(PAY, "harbour"), (RISE, "default")])
async def test_without_a_model_the_collection_with_the_nearest_passages_answers(opened, question, collection):
    async with opened(with_model=False) as made:
        answer = await made.ask(Question(question, mode="router"))
        found = await made.retrieve(Question(question, mode="router", collection="harbour"))
    assert (answer.sources.collection, answer.sources.generation) == (collection, "1")
    assert found.collection == collection
    assert answer.done.engine.name == "hybrid"
    assert answer.done.engine.notes == (f"Collection {collection} was chosen of 2, by the passages that they hold.",)
    assert {citation.source for citation in answer.done.citations} == {
        "harbour.md" if collection == "harbour" else "bread.md"
    }


async def test_the_model_chooses_collection_and_engine_from_what_they_are_about(opened, model_server):
    model_server.default = scripted(choice=choosing(2, 2))
    async with opened() as made:
        answer = await made.ask(Question("Sum the handbook up.", mode="router"))
    assert (answer.sources.collection, answer.done.engine.name) == ("harbour", "summary")
    assert answer.done.engine.calls == 2
    assert sorted(answer.done.engine.notes) == [
        "Collection harbour was chosen of 2, by the model.",
        "Engine summary was chosen by the model.",
    ]
    shown = next(message for message in last_messages(model_server) if "Collection" in message)
    assert "(2) Collection harbour, with documents such as: harbour.md" in shown
    assert "empty" not in shown
    assert answer.done.citations[0].start == 0  # a whole document


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "garbage",
        '{"choice": 99}',
        '{"choice": -1}',
        '{"choice": "secrets"}',
        "0",
        "&a [*a, *a]",
        "[" * 3000,
        '[{"choice": null}]',
    ],
)
async def test_a_choice_that_is_none_leaves_it_to_the_passages(opened, model_server, reply):
    model_server.default = scripted(choice=reply)
    async with opened() as made:
        answer = await made.ask(Question(PAY, mode="router"))
    assert (answer.sources.collection, answer.done.engine.name) == ("harbour", "hybrid")
    assert "Collection harbour was chosen of 2, by the passages that they hold." in answer.done.engine.notes


@pytest.mark.parametrize("fault", ["server-error", "hang-first", "garbage"])
async def test_a_model_that_fails_to_choose_does_not_keep_passages_from_being_found(opened, model_server, fault):
    model_server.default = Reply(fault=fault)
    async with opened(engines={"call_timeout": 0.4}) as made:
        found = await made.retrieve(Question(PAY, mode="router"))
    assert found.collection == "harbour"
    assert found.results[0].source == "harbour.md"


async def test_another_tenant_s_collections_are_neither_shown_nor_searched(opened, model_server, settings):
    dsn = settings.database.url.get_secret_value()
    execute(dsn, "ALTER TABLE footnote.collections DISABLE TRIGGER ALL")
    execute(
        dsn,
        "SET session_replication_role = replica; UPDATE footnote.collections SET tenant_id = 'other' "
        "WHERE name = 'harbour'",
    )
    model_server.default = scripted(choice=choosing(2))
    async with opened() as made:
        answer = await made.ask(Question(PAY, mode="router"))
        with pytest.raises(CollectionNotFound):
            await made.ask(Question(PAY, mode="router", collection="harbour"))
    assert answer.sources.collection == "default"
    assert not any("harbour" in message for message in last_messages(model_server) if "choices" in message)


async def test_filters_and_documents_are_looked_for_where_they_are(opened, model_server):
    model_server.default = scripted(choice=choosing(1))
    async with opened() as made:
        (harbour,) = {
            result.document_id for result in (await made.retrieve(Question(PAY, collection="harbour"))).results
        }
        found = await made.retrieve(Question(RISE, mode="router", document_ids=(harbour,), min_score=0.0, k=2))
    assert found.collection == "harbour"
    assert len(found.results) == 2


async def test_a_collection_of_another_model_is_compared_by_one_model(opened, database, embedder, monkeypatch):
    """Its cosines mean something else: this one's would win always."""
    from server.services.pinned_generations import PinnedGenerations

    other = replace(embedder.identity, fingerprint="other")
    original = PinnedGenerations._opened

    class Flatterer:
        """A model that finds everything near."""

        identity = other
        files = embedder.files

        async def query(self, _text):
            return await embedder.query("harbour lighthouse keeper pay")

    async def opened_(self, generation):
        pinned = await original(self, replace(generation, embedding=embedder.identity))
        if generation.collection != "third":
            return pinned
        return replace(pinned, generation=generation, embedder=Flatterer())

    monkeypatch.setattr(PinnedGenerations, "_opened", opened_)
    await index_chaptered(
        database, embedder, {"far.md": "The harbour lighthouse keeper pay office is closed."}, name="third"
    )
    execute_ = (
        "UPDATE footnote.generations SET embedding_fingerprint = 'other' WHERE collection_id = "
        "(SELECT id FROM footnote.collections WHERE name = 'third')"
    )
    async with database.dedicated(as_owner=True) as connection:
        await connection.execute(execute_)
    async with opened(with_model=False) as made:
        found = await made.retrieve(Question(RISE, mode="router"))
    assert found.collection == "default"
    assert "of 3" in found.engine.notes[0]


async def test_the_chosen_generation_is_held_until_the_stream_ends(opened, model_server, monkeypatch):
    from server.services.pinned_generations import PinnedGenerations

    held = []
    original = PinnedGenerations._used

    def used(self, entry):
        held.append(entry)
        return original(self, entry)

    monkeypatch.setattr(PinnedGenerations, "_used", used)
    model_server.default = scripted(choice=choosing(2), answer="word " * 50, delay=0.01)
    async with opened() as made, aclosing(made.stream(Question(PAY, mode="router"))) as events:
        assert isinstance(await anext(events), Sources)
        assert isinstance(await anext(events), Token)
        (entry,) = {id(entry): entry for entry in held if entry.pinned.generation.collection == "harbour"}.values()
        assert entry.users == 1
        async for _ in events:
            assert entry.users == 1 or not isinstance(_, Token)
    assert entry.users == 0


async def test_a_stream_that_is_left_gives_the_chosen_generation_back(opened, model_server):
    model_server.default = scripted(choice=choosing(2), answer="word " * 500, delay=0.02)
    async with opened() as made:
        async with aclosing(made.stream(Question(PAY, mode="router"))) as events:
            async for event in events:
                if isinstance(event, Token):
                    break
        assert await asyncio.to_thread(model_server.wait_for_disconnects, 1, timeout=5)
        entries = made._generations._entries.values()
        assert [entry.users for entry in entries] == [0] * len(entries)


async def test_one_collection_is_no_choice(opened, database):
    async with database.transaction() as connection:
        await Collections(database).delete(connection, "harbour")
    async with opened() as made:
        answer = await made.ask(Question(RISE, mode="router"))
    assert answer.sources.collection == "default"
    assert answer.done.engine.calls == 1  # for the engine
