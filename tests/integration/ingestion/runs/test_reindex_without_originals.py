"""Documents whose bytes are not kept are built anew from their chunks, and stay what they were."""

import itertools

import pytest
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from support.corpus import chunks, document
from support.index_model import IDENTITIES, MadeUpIndexing, Points, chunking_of, vector_of

from config.settings import RetrievalSettings
from ingestion.runs.reindexing import Reindexing
from storage.documents.rows import stored_row
from storage.documents.text import DocumentTexts
from storage.documents.versions import CHANGED_BY_NODES
from storage.documents.writes import Documents
from storage.search.filters import Filter, FilterGroup
from storage.search.search import SearchRequest
from storage.vector_store import ChunkStore

NAME = "docs"


class Library:
    """A collection without files."""

    def __init__(self, database, settings):
        self.database = database
        self.indexing = MadeUpIndexing(database, settings=settings, points=Points())
        self.sizes = itertools.cycle([2, 1])

    async def store(self):
        generation = await self.indexing.collections.active(NAME)
        return ChunkStore(self.database, generation=generation, settings=RetrievalSettings())

    async def reindex(self, model="one"):
        self.indexing.wanted = (IDENTITIES[model], chunking_of(next(self.sizes)))
        active = await self.indexing.collections.active(NAME)
        result = await Reindexing(self.indexing, active=active).run(
            [], files=lambda *_: _NoFiles(), resume=False, activate="always", gate=None
        )
        assert result.activated, result.as_text()
        return result

    async def row(self, document_id):
        generation = await self.indexing.collections.active(NAME)
        async with self.database.connection() as connection:
            return await stored_row(connection, generation.id, document_id)

    async def found(self, text, **equal):
        filters = FilterGroup(filters=[Filter(key=key, value=value) for key, value in equal.items()])
        request = SearchRequest(mode="keyword", limit=20, text=text, filters=filters)
        return await (await self.store()).search(request)

    async def execute(self, statement, *values):
        async with self.database.connection() as connection:
            return await connection.fetch(statement, *values)


class _NoFiles:
    async def changed(self, *_, **__):
        for nothing in ():
            yield nothing


@pytest.fixture
async def library(database, settings):
    made = Library(database, settings)
    await made.indexing.ensure(NAME)
    return made


def node(name, *, of, text, **metadata):
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=of)}
    vector = vector_of(IDENTITIES["one"], text).tolist()
    return TextNode(id_=name, text=text, metadata=metadata, embedding=vector, relationships=source)


async def test_nodes_of_a_pdf_keep_its_name_and_their_pages(library):
    told = {"file_name": "zeppelin.pdf", "file_path": "/air/zeppelin.pdf", "year": 1937}
    nodes = [node(f"n{page}", of="z", text=f"The airship has w{page} engines", page=page, **told) for page in (3, 4, 7)]
    await (await library.store()).async_add(nodes)
    for model in ("one", "other", "one"):
        before = await library.row("z")
        await library.reindex(model)
        after = await library.row("z")
        for page in (3, 4, 7):
            (hit,) = await library.found(f"w{page}", file_name="zeppelin.pdf")
            assert (hit.page, hit.metadata["page"], hit.metadata["year"]) == (page, page, 1937)
        for name in ("source", "title", "location", "content_hash", "size", "revision", "original", "pages"):
            assert getattr(before, name) == getattr(after, name), name


async def test_a_document_of_before_originals_were_kept_keeps_its_name_its_pages_and_its_warnings(library):
    generation = await library.indexing.collections.active(NAME)
    made = document("air/zeppelin.pdf", metadata={"file_name": "zeppelin.pdf"}, revision=1)
    text = "Page one w1\n\nPage two w2\n\nPage three w3"
    starts = [text.index(f"Page {word}") for word in ("one", "two", "three")]
    parts = text.split("\n\n")
    chunked = [
        type(chunk)(**{**{name: getattr(chunk, name) for name in chunk.__slots__}, "page": page, "start": start,
                       "end": start + len(part), "text": part})
        for page, (chunk, start, part) in enumerate(zip(chunks(made, *parts), starts, parts, strict=True), 1)
    ]  # fmt: skip
    pages = [(start, label) for start, label in zip(starts, ("i", "ii", "1"), strict=True)]
    warnings = [{"kind": "ocr", "detail": "d", "page": 2}]
    row = type(made)(**{**{name: getattr(made, name) for name in made.__slots__}, "pages": pages, "warnings": warnings})
    await Documents(library.database, generation=generation).write(row, chunked, replaces=None)
    for _ in range(2):
        await library.reindex()
        after = await library.row(made.id)
        assert ([tuple(page) for page in after.pages], after.warnings) == (pages, warnings)
        assert (after.original, after.content_hash) == (None, made.content_hash)
        (hit,) = await library.found("w3", file_name="zeppelin.pdf")
        assert (hit.page, hit.metadata["page"], hit.metadata["page_end"]) == (3, 3, 3)
        page = await DocumentTexts(library.database).page(made.id, 2, collection=NAME)
        assert page.text.strip() == "Page two w2"
    assert after.pipeline_fingerprint.endswith(CHANGED_BY_NODES)  # its file, once it comes again, is read


async def test_what_nodes_changed_stays_changed_and_bytes_stay_kept(library, tmp_path):
    from storage.documents.originals import Originals

    path = tmp_path / "a.txt"
    path.write_text("w1 is said\n\nw2 is said")
    generation = await library.indexing.collections.active(NAME)
    made = document("a.txt", content=path.read_text(), metadata={"file_name": "a.txt"}, revision=1)
    made = type(made)(**{**{name: getattr(made, name) for name in made.__slots__}, "original": made.content_hash})
    await Originals(library.database).put(path, content_hash=made.content_hash)
    await Documents(library.database, generation=generation).write(
        made, chunks(made, "w1 is said", "w2 is said"), replaces=None
    )
    store = await library.store()
    first = (await library.found("w1"))[0]
    await store.adelete_nodes([first.node_id])
    await store.async_add([node("added", of=made.id, text="w3 is said")])
    await library.reindex()
    assert not await library.found("w1")
    assert len(await library.found("w2")) == len(await library.found("w3")) == 1
    assert (await library.row(made.id)).original == made.original


async def test_a_document_all_of_whose_nodes_were_deleted_does_not_stop_a_build(library):
    store = await library.store()
    await store.async_add([node("n", of="z", text="w1")])
    await store.adelete_nodes(["n"])
    for _ in range(2):
        await library.reindex()
    assert (await library.row("z")).source == "z"
    assert not await library.found("w1")


async def test_a_page_beyond_all_measure_is_kept(library):
    await (await library.store()).async_add([node("n", of="z", text="w1 here", page=2**31 - 1, file_name="z.pdf")])
    await library.reindex()
    (hit,) = await library.found("w1", file_name="z.pdf")
    assert hit.page == 2**31 - 1
