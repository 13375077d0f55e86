import asyncio
from dataclasses import replace

import pytest
from support.corpus import CHUNKING, IDENTITY, chunks, document, fill, make_collection

from storage.access.tenants import Tenants
from storage.caller import acting_as, service_of
from storage.collections.collections import Collections
from storage.documents.catalog import DocumentCatalog
from storage.documents.writes import Documents
from storage.errors import (
    CollectionNotFound,
    DocumentNotFound,
    EmbeddingMismatch,
    InvalidCollection,
    InvalidCursor,
)


async def test_eight_askers_at_once_make_one_collection(database):
    generations = await asyncio.gather(*(make_collection(database) for _ in range(8)))
    assert len({generation.id for generation in generations}) == 1


async def test_a_missing_collection_is_named(database):
    with pytest.raises(CollectionNotFound, match="nowhere"):
        await Collections(database).active("nowhere")


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a" * 64, "a\0b", "../x", "a';--", "ä"])
async def test_a_collection_name_outside_the_pattern_is_refused(database, name):
    with pytest.raises(InvalidCollection):
        await make_collection(database, name)


async def test_a_language_that_the_database_lacks_is_refused_with_those_it_has(database):
    with pytest.raises(InvalidCollection, match="german"):
        await Collections(database).ensure(
            "x", embedding=IDENTITY, chunking=replace(CHUNKING, language="klingon'; drop table x")
        )


async def test_another_embedding_model_is_refused_with_what_to_do(database):
    await make_collection(database)
    with pytest.raises(EmbeddingMismatch, match="FOOTNOTE_EMBEDDING__MODEL"):
        await Collections(database).ensure(
            "default", embedding=replace(IDENTITY, fingerprint="other"), chunking=CHUNKING
        )


async def test_collections_and_documents_are_listed_in_pages(database):
    for name in ("a", "b", "c"):
        generation = await make_collection(database, name)
    await fill(database, generation, {f"doc {number}": ("text", {"n": number}) for number in range(5)})
    collections = Collections(database)
    first = await collections.list(limit=2)
    assert [item.name for item in first.items] == ["a", "b"]
    second = await collections.list(limit=2, cursor=first.next_cursor)
    assert [(item.name, item.documents, item.chunks) for item in second.items] == [("c", 5, 5)]
    assert second.next_cursor is None

    catalog = DocumentCatalog(database)
    seen, cursor = [], None
    while True:
        page = await catalog.list(collection="c", limit=2, cursor=cursor)
        seen += page.items
        if (cursor := page.next_cursor) is None:
            break
    assert sorted(item.source for item in seen) == [f"doc {number}" for number in range(5)]
    assert (await catalog.get(seen[0].id, collection="c")).metadata == seen[0].metadata


async def test_a_document_is_found_in_its_own_collection_only(database):
    generation = await make_collection(database, "a")
    await make_collection(database, "b")
    await fill(database, generation, {"x": ("text", {})})
    catalog = DocumentCatalog(database)
    (item,) = (await catalog.list(collection="a", limit=10)).items
    assert (await catalog.get(item.id, collection="a")).source == "x"
    with pytest.raises(DocumentNotFound):
        await catalog.get(item.id, collection="b")


@pytest.mark.parametrize("cursor", ["%", "a", "AAA=AAA", "é", "\0", "AA=="])
async def test_a_made_up_cursor_is_refused(database, cursor):
    with pytest.raises(InvalidCursor):
        await Collections(database).list(limit=1, cursor=cursor)


async def test_sizes_are_those_of_all_tenants_by_name_and_the_small_ones_are_one(database):
    tenants = Tenants(database)
    for number, tenant in enumerate(("public", "acme", "beta")):
        if tenant != "public":
            await tenants.create(tenant)
        with acting_as(service_of(tenant)):
            for name in ("docs", f"own-{tenant}", "other"):
                generation = await make_collection(database, name)
                for place in range(number + 1 if name == "docs" else 1):
                    new = document(f"{name}-{place}.txt")
                    await Documents(database, generation=generation).write(new, chunks(new, "an apple"), replaces=None)
    with acting_as(service_of("acme")):
        sizes = await Collections(database).sizes(most=1)
        everything = await Collections(database).sizes(most=50)
    assert [(size.name, size.documents) for size in sizes] == [("docs", 6), ("other", 6)]
    assert {size.name: size.documents for size in everything} == {
        "docs": 6, "other": 3, "own-public": 1, "own-acme": 1, "own-beta": 1
    }  # fmt: skip
    assert sum(size.chunks for size in everything) == sum(size.chunks for size in sizes) > 0
