"""Readers of documents: by writing, by changing, by default, and how they are explained."""

from dataclasses import replace

import pytest
from support.corpus import CHUNKING, IDENTITY, chunks, document, make_collection, vector
from support.sql import execute

from config.settings import RetrievalSettings
from storage.caller import LOCAL, Caller, acting_as
from storage.collections.collections import Collections
from storage.collections.generations import Generations
from storage.collections.index_versions import IndexVersions
from storage.documents.catalog import DocumentCatalog
from storage.documents.originals import Originals
from storage.documents.readers import MAX_READERS, DocumentReaders, checked_readers
from storage.documents.versions import NewAttachment
from storage.documents.writes import Documents
from storage.errors import CollectionNotFound, DocumentAttached, DocumentNotFound, InvalidReaders, OriginalNotFound
from storage.search.breadth import broad_filters
from storage.search.readability import readable_documents
from storage.search.search import ChunkSearch, SearchRequest

ADA = Caller("public", "ada", ("eng",))
BOB = Caller("public", "bob", ("hr",))


async def write(database, generation, name, **fields):
    new = replace(document(name), **fields)
    await Documents(database, generation=generation).write(new, chunks(new, f"apple {name}"), replaces=None)
    return new


async def readers_of(database, document_id):
    with acting_as(LOCAL):
        return (await DocumentCatalog(database).get(document_id, collection="default")).readers


async def found(database, generation, who):
    with acting_as(who):
        search = ChunkSearch(database, generation=generation, settings=RetrievalSettings())
        hits = await search.search(SearchRequest("hybrid", limit=9, text="apple", embedding=vector("apple")))
    return {hit.text.split()[-1] for hit in hits}


async def test_everybody_reads_what_has_no_readers_and_others_what_names_them(database):
    generation = await make_collection(database)
    await write(database, generation, "all")
    await write(database, generation, "eng", readers=("group:eng",))
    await write(database, generation, "bob", readers=("user:bob",))
    await write(database, generation, "nobody", readers=())
    assert await found(database, generation, ADA) == {"all", "eng"}
    assert await found(database, generation, BOB) == {"all", "bob"}
    assert await found(database, generation, LOCAL) == {"all", "eng", "bob", "nobody"}


async def test_a_search_has_a_condition_on_readers_only_where_a_document_is_kept_from_somebody(database):
    generation = await make_collection(database)
    documents = [await write(database, generation, name) for name in ("one", "two", "three")]
    known = broad_filters(database)

    async def readable(who, *, of):
        with acting_as(who):
            async with database.transaction() as connection:
                return await readable_documents(connection, generation, who, known=known, documents=of)

    assert await readable(ADA, of=3) == "all"
    await DocumentReaders(database).put(documents[0].id, ["group:hr"], collection="default")
    assert sorted(await readable(ADA, of=100)) == sorted([documents[1].id, documents[2].id])
    assert len(await readable(BOB, of=100)) == 3
    assert await found(database, generation, ADA) == {"two", "three"}
    await DocumentReaders(database).put(documents[0].id, ["*", "group:hr"], collection="default")
    assert await readable(ADA, of=3) == "all"
    assert await found(database, generation, ADA) == {"one", "two", "three"}


async def test_changing_readers_holds_from_the_next_question_and_touches_no_chunk(database, dsn):
    generation = await make_collection(database)
    new = await write(database, generation, "one")
    table = f"footnote.data_generation_{generation.id}"
    before = execute(dsn, f"SELECT id, xmin::text, ctid::text FROM {table}")
    version = await IndexVersions(database).of(generation)
    assert await DocumentReaders(database).put(new.id, ["group:hr", "group:hr"], collection="default") == ("group:hr",)
    assert await IndexVersions(database).of(generation) != version  # for cached answers
    assert execute(dsn, f"SELECT id, xmin::text, ctid::text FROM {table}") == before
    assert (await found(database, generation, ADA), await found(database, generation, BOB)) == (set(), {"one"})


async def test_who_may_not_read_a_document_cannot_change_or_explain_it(database):
    generation = await make_collection(database)
    new = await write(database, generation, "one", readers=("user:bob",))
    store = DocumentReaders(database)
    with acting_as(ADA):
        for call in (
            store.put(new.id, ["*"], collection="default"),
            store.explain(new.id, collection="default", subject="bob", groups=()),
        ):
            with pytest.raises(DocumentNotFound):
                await call
    with acting_as(BOB):
        assert await store.put(new.id, ["group:eng"], collection="default") == ("group:eng",)  # himself out, too
        with pytest.raises(DocumentNotFound):
            await store.put(new.id, ["*"], collection="default")
    assert await readers_of(database, new.id) == ("group:eng",)


async def test_an_explanation_names_what_lets_somebody_in(database):
    generation = await make_collection(database)
    new = await write(database, generation, "one", readers=("user:bob", "group:eng", "group:ops"))
    explain = DocumentReaders(database).explain
    told = await explain(new.id, collection="default", subject="bob", groups=("ops", "x"))
    assert (told.allowed, told.matched) == (True, ("user:bob", "group:ops"))
    told = await explain(new.id, collection="default", subject="eve", groups=("user:bob",))
    assert (told.allowed, told.matched) == (False, ())


async def test_a_new_version_keeps_the_readers_unless_it_brings_others(database):
    generation = await make_collection(database)
    new = await write(database, generation, "one", readers=("user:bob",))
    store = Documents(database, generation=generation)
    for readers, expected in ((None, ("user:bob",)), (("group:eng",), ("group:eng",)), (None, ("group:eng",))):
        stored = (await store.by_ids([new.id]))[new.id]
        new = replace(new, content_hash=f"{stored.content_hash[:-1]}{expected[0][-1]}", readers=readers)
        new = replace(new, pipeline_fingerprint=f"{new.pipeline_fingerprint}x", revision=new.revision + 1)
        await store.write(new, chunks(new, "again"), replaces=stored)
        assert await readers_of(database, new.id) == expected


async def test_a_document_without_readers_has_the_collection_s(database):
    generation = await make_collection(database)
    await DocumentReaders(database).put_default("default", ["group:hr"])
    new = await write(database, generation, "one")
    assert await readers_of(database, new.id) == ("group:hr",)
    assert (await Collections(database).info("default")).readers == ("group:hr",)
    with pytest.raises(CollectionNotFound):
        await DocumentReaders(database).put_default("none", ["*"])


async def test_attachments_have_their_mail_s_readers(database):
    generation = await make_collection(database)
    mail, attached = document("mail"), replace(document("mail#a.pdf"), parent=document("mail").id)
    await Documents(database, generation=generation).write(
        replace(mail, readers=("user:bob",)),
        chunks(mail, "apple mail"),
        replaces=None,
        attachments=[NewAttachment(attached, chunks(attached, "apple attached"))],
    )
    assert await readers_of(database, attached.id) == ("user:bob",)
    assert await found(database, generation, ADA) == set()
    await DocumentReaders(database).put(mail.id, ["group:eng"], collection="default")
    assert await found(database, generation, ADA) == {"mail", "attached"}
    with pytest.raises(DocumentAttached):
        await DocumentReaders(database).put(attached.id, ["*"], collection="default")


async def test_another_generation_takes_over_what_may_be_read(database):
    generation = await make_collection(database)
    new = await write(database, generation, "one", readers=("user:bob",))
    generations = Generations(database)
    async with generations.building(generation):
        built = await generations.begin(
            generation, embedding=IDENTITY, chunking=CHUNKING, fingerprint="f", resume=False
        )
        await write(database, built, "one")
        await DocumentReaders(database).put(new.id, ["group:eng"], collection="default")  # both, while it is built
        await generations.finish(built, report={})
    await generations.activate("default", built.name)
    assert await readers_of(database, new.id) == ("group:eng",)


async def test_bytes_are_given_to_those_only_who_may_read_one_of_their_documents(database):
    generation = await make_collection(database)
    data = b"x"
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    await Originals(database).put_data(data, content_hash=digest)
    await write(database, generation, "one", readers=("user:bob",), content_hash=digest, original=digest)
    with acting_as(BOB):
        assert b"".join([block async for block in Originals(database).blocks(digest)]) == data
    with acting_as(ADA), pytest.raises(OriginalNotFound):
        await anext(Originals(database).blocks(digest))


@pytest.mark.parametrize(
    "bad",
    ["", "bob", "user:", "group:", "role:x", "**", "+", "user:a\nb", "user:\0", "user:" + "x" * 400, "user:\ud800"],
)
def test_what_is_no_reader_is_refused(bad):
    with pytest.raises(InvalidReaders):
        checked_readers([bad])


def test_readers_are_bounded():
    names = [f"user:{number}" for number in range(MAX_READERS + 1)]
    assert len(checked_readers(names[:-1])) == MAX_READERS
    with pytest.raises(InvalidReaders, match="groups"):
        checked_readers(names)
