import asyncio
from dataclasses import replace

import pytest
from support.corpus import chunks, document, make_collection
from support.sql import execute

from storage.documents.writes import Documents
from storage.errors import SourceTaken, WriteConflict


async def rows(database, generation):
    async with database.dedicated(as_owner=True) as connection:
        return await connection.fetch(
            f"SELECT document_id, chunk_index, text FROM footnote.data_generation_{generation.id} ORDER BY 1, 2"
        )


async def test_a_new_version_replaces_the_old_one_whole(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    old = document("a", content="1")
    await documents.write(old, chunks(old, "one", "two", "three"), replaces=None)
    (state,) = (await documents.states(["a"])).values()
    new = document("a", content="2")
    assert await documents.write(new, chunks(new, "four"), replaces=state) == "written"
    assert [row["text"] for row in await rows(database, generation)] == ["four"]


async def test_the_same_version_again_changes_nothing(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    made = document("a")
    assert await documents.write(made, chunks(made, "one"), replaces=None) == "written"
    assert await documents.write(made, chunks(made, "one"), replaces=None) == "unchanged"
    assert len(await rows(database, generation)) == 1


async def test_a_writer_that_read_an_older_state_is_turned_away_and_changes_nothing(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    first, second, stale = (document("a", content=content) for content in "123")
    await documents.write(first, chunks(first, "one"), replaces=None)
    (state,) = (await documents.states(["a"])).values()
    await documents.write(second, chunks(second, "two"), replaces=state)
    with pytest.raises(WriteConflict):
        await documents.write(stale, chunks(stale, "three"), replaces=state)
    assert [row["text"] for row in await rows(database, generation)] == ["two"]


async def test_a_file_whose_moved_document_another_file_took_is_no_older_version_of_it(database):
    documents = Documents(database, generation=await make_collection(database))
    old = replace(document("a", revision=1), location="/a")
    await documents.write(old, chunks(old, "one"), replaces=None)
    (state,) = (await documents.states(["a"])).values()
    took, late = (replace(old, source=name, location=f"/{name}", revision=r) for name, r in (("b", 3), ("c", 2)))
    assert await documents.write(took, chunks(took, "one"), replaces=state) == "written"
    with pytest.raises(WriteConflict):  # and the file looks for a document anew, or becomes one
        await documents.write(late, chunks(late, "one"), replaces=state)


async def test_a_write_takes_the_source_of_no_other_document(database):
    documents = Documents(database, generation=await make_collection(database))
    old = document("a")
    await documents.write(old, chunks(old, "one"), replaces=None)
    (holder,) = (await documents.states(["a"])).values()
    other = replace(document("b"), source="a")
    for displaces in (None, holder):
        with pytest.raises(WriteConflict):
            await documents.write(other, chunks(other, "two"), replaces=None, displaces=displaces)
    assert set(await documents.by_ids([old.id, other.id])) == {old.id}


async def test_a_copy_takes_the_source_of_an_older_document_only(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    kept, late, early = document("a", revision=5), document("b", revision=6), document("c", revision=4)
    await documents.write(kept, chunks(kept, "one"), replaces=None)
    (holder,) = (await documents.states(["a"])).values()
    with pytest.raises(SourceTaken):
        await documents.write(replace(early, source="a"), [], replaces=None, displaces=holder, is_carried=True)
    assert len(await rows(database, generation)) == 1
    assert (
        await documents.write(replace(late, source="a"), [], replaces=None, displaces=holder, is_carried=True)
        == "written"
    )
    assert [state.id for state in (await documents.states(["a"])).values()] == [late.id]


async def test_eight_writers_of_one_document_leave_one_version(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    versions = [document("a", content=str(number)) for number in range(8)]
    outcomes = await asyncio.gather(
        *(documents.write(made, chunks(made, f"v{made.size}", "x", "y"), replaces=None) for made in versions),
        return_exceptions=True,
    )
    assert outcomes.count("written") == 1
    assert sum(isinstance(outcome, WriteConflict) for outcome in outcomes) == 7
    assert len(await rows(database, generation)) == 3


async def test_a_failing_chunk_rolls_the_whole_document_back(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    old = document("a", content="1")
    await documents.write(old, chunks(old, "one"), replaces=None)
    (state,) = (await documents.states(["a"])).values()
    new = document("a", content="2")
    twice = chunks(new, "same", "other")
    with pytest.raises(Exception, match="SQLSTATE 23505"):
        await documents.write(new, [twice[0], twice[0]], replaces=state)
    assert [row["text"] for row in await rows(database, generation)] == ["one"]
    assert (await documents.states(["a"]))["a"].content_hash == old.content_hash


async def test_deleting_a_document_deletes_its_chunks(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    for name in ("a", "b"):
        made = document(name)
        await documents.write(made, chunks(made, name + "1", name + "2"), replaces=None)
    assert await documents.delete(document("a").id)
    assert not await documents.delete(document("a").id)
    assert {row["document_id"] for row in await rows(database, generation)} == {document("b").id}


async def test_a_chunk_of_another_tenant_or_generation_is_refused(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    made = document("a")
    await documents.write(made, chunks(made, "one"), replaces=None)
    for column, value in (("generation_id", "0"), ("tenant_id", "'other'")):
        with pytest.raises(Exception, match="SQLSTATE 23514"):
            async with database.dedicated(as_owner=True) as connection:
                await connection.execute(f"UPDATE footnote.data_generation_{generation.id} SET {column} = {value}")


async def test_a_documents_chunks_go_with_its_row_whoever_deletes_it(database, dsn):
    one, other = await make_collection(database), await make_collection(database, "other")
    for generation in (one, other):
        documents = Documents(database, generation=generation)
        for name in ("a", "b"):
            made = document(name)
            await documents.write(made, chunks(made, name + "1", name + str(generation.id)), replaces=None)
    execute(dsn, "DELETE FROM footnote.documents WHERE source = 'a'")
    for generation in (one, other):
        assert {row["document_id"] for row in await rows(database, generation)} == {document("b").id}
    execute(dsn, "DELETE FROM footnote.documents")
    assert not await rows(database, one)
    assert not await rows(database, other)


async def test_stored_vectors_come_back_as_they_were(database):
    generation = await make_collection(database)
    documents = Documents(database, generation=generation)
    made = document("a")
    written = chunks(made, "one", "two")
    await documents.write(made, written, replaces=None)
    vectors = await documents.vectors(made.id)
    assert {key: list(value) for key, value in vectors.items()} == {
        chunk.embedded_hash: list(chunk.embedding) for chunk in written
    }
