"""Documents of which another program deleted chunks are never unchanged, and are found and repaired."""

import asyncio
import hashlib
import json
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.vector_stores.postgres import PGVectorStore
from sqlalchemy.exc import IntegrityError
from support.files import pdf
from support.indexings import DIMENSION, open_made_up
from support.mails import mail
from support.workers import ended, submit, working

from config.settings import RetrievalSettings
from ingestion.cli.arguments import parse_arguments
from ingestion.cli.command import run_command
from ingestion.dry_run.commands import plan
from ingestion.inputs.inputs import Inputs
from ingestion.jobs.handlers import Handlers
from ingestion.runs.checking import CHANGED, LOST, check
from ingestion.runs.run import ingest, reindex
from storage.collections.collections import Collections
from storage.documents.catalog import DocumentCatalog
from storage.documents.incomplete import IncompleteDocuments
from storage.documents.originals import Originals
from storage.documents.writes import Documents
from storage.errors import CollectionNotFound
from storage.jobs.payloads import IndexDocument
from storage.search.search import SearchRequest
from storage.vector_store import ChunkStore

TEXTS = {"tides.md": "# Tides\n\nHigh water comes twice a day.", "fees.md": "# Fees\n\nBoats pay three crowns."}


class Shelf:
    """A folder that is ingested into a collection."""

    def __init__(self, indexing, folder):
        self.indexing, self.folder = indexing, folder
        self.inputs = Inputs("docs", [str(folder)], base=folder)

    async def ingest(self):
        return await ingest(self.indexing, self.inputs, watch=lambda _: None)

    async def check(self, *, repair=False):
        return await check(self.indexing, "docs", repair=repair)

    async def documents(self):
        items = (await DocumentCatalog(self.indexing.database).list(collection="docs", limit=100)).items
        return {item.source: item for item in items}

    async def store(self):
        generation = await self.indexing.collections.active("docs")
        return ChunkStore(self.indexing.database, generation=generation, settings=RetrievalSettings())

    async def found(self, text):
        hits = await (await self.store()).search(SearchRequest(mode="keyword", limit=10, text=text))
        return [hit.metadata["source"] for hit in hits]

    async def delete_by_stock_class(self, document_id):
        """Delete a document as a program does that knows LlamaIndex and not Footnote."""
        async with self.over_stock_class() as over:
            await asyncio.to_thread(over.delete_ref_doc, document_id)

    @asynccontextmanager
    async def over_stock_class(self):
        """Open an index over the stock class on the collection's table."""
        table = (await Collections(self.indexing.database).info("docs")).table
        tail = self.indexing.dsn.removeprefix("postgresql://")
        stock = PGVectorStore.from_params(
            connection_string=f"postgresql+psycopg2://{tail}",
            async_connection_string=f"postgresql+asyncpg://{tail}",
            schema_name="footnote",
            table_name=table.removeprefix("data_"),
            embed_dim=DIMENSION,
            use_jsonb=True,
            perform_setup=False,
        )
        try:
            yield VectorStoreIndex.from_vector_store(stock, embed_model=MockEmbedding(DIMENSION))
        finally:
            await stock.close()


@pytest.fixture
async def shelf(settings, tmp_path):
    async with open_made_up(settings) as indexing:
        made = Shelf(indexing, tmp_path)
        for name, text in TEXTS.items():
            (tmp_path / name).write_text(text)
        await made.ingest()
        yield made


async def test_a_document_whose_chunks_another_program_deleted_comes_back_with_its_file(shelf):
    tides = (await shelf.documents())["tides.md"]
    await shelf.delete_by_stock_class(tides.id)
    assert await shelf.found("high water") == []
    assert (await plan(shelf.indexing, shelf.inputs, reindex=False, sync=False, manifest=None)).documents[
        "changed"
    ] == 1
    report = await shelf.ingest()
    assert (report.changed, report.unchanged) == (1, 1)
    assert await shelf.found("high water") == ["tides.md"]
    assert (await shelf.ingest()).unchanged == 2


async def test_what_another_program_inserts_is_refused_by_the_database_and_nothing_of_it_is_stored(shelf):
    node = TextNode(text="Zebras graze at low water.", embedding=[0.5] * DIMENSION)
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=(await shelf.documents())["tides.md"].id)
    async with shelf.over_stock_class() as over:
        for insert, given in (
            (over.insert, Document(text="Zebras at noon.", id_="zebra")),
            (over.insert_nodes, [node]),
        ):
            with pytest.raises(IntegrityError, match="tenant_id"):
                await asyncio.to_thread(insert, given)
    assert await shelf.found("zebras") == []
    assert set(await shelf.documents()) == set(TEXTS)
    checked = await shelf.check()
    assert (checked.documents, checked.incomplete) == (2, [])
    assert (await shelf.ingest()).unchanged == 2


async def test_the_same_upload_is_indexed_again_once_chunks_are_missing(shelf, settings, tmp_path_factory):
    database = shelf.indexing.database
    upload = tmp_path_factory.mktemp("upload") / "ferry.md"
    upload.write_text("# Ferry\n\nThe ferry leaves at noon.")
    digest = hashlib.sha256(upload.read_bytes()).hexdigest()
    await Originals(database).put(upload, content_hash=digest)
    documents = Documents(database, generation=await shelf.indexing.collections.active("docs"))

    async def uploaded():
        revision = await documents.next_revision()
        payload = IndexDocument(source="ferry.md", revision=revision, content_hash=digest, name="ferry.md")
        sent = {"kind": payload.kind, "arguments": payload.arguments(), "collection": "docs", "document_id": "ferry"}
        return (await ended(database, (await submit(database, **sent)).id)).result["outcome"]

    async with (
        AsyncExitStack() as stack,
        working(settings, database, Handlers(shelf.indexing, settings=settings, stack=stack).mapping),
    ):
        assert [await uploaded(), await uploaded()] == ["added", "unchanged"]
        await shelf.delete_by_stock_class("ferry")
        assert await uploaded() == "changed"
        assert await shelf.found("ferry") == ["ferry.md"]


async def test_a_check_finds_it_and_repairs_it_from_the_bytes_that_are_kept(shelf):
    assert (await shelf.check()).as_text() == "2 documents of 'docs' are whole"
    before = (await shelf.documents())["tides.md"]
    await shelf.delete_by_stock_class(before.id)
    for path in shelf.folder.iterdir():
        path.unlink()
    seen = await shelf.check()
    assert seen.exit_code == 1
    assert seen.as_text().splitlines()[:2] == ["1 of 2 documents of 'docs' lack chunks", "  tides.md: 0 of 1 chunks"]
    assert await shelf.found("high water") == []
    repaired = await shelf.check(repair=True)
    assert (repaired.exit_code, repaired.lost) == (0, [])
    assert await shelf.found("high water") == ["tides.md"]
    after = (await shelf.documents())["tides.md"]
    kept = ("id", "source", "title", "metadata", "content_hash", "revision", "chunks", "bytes")
    assert [getattr(after, name) for name in kept] == [getattr(before, name) for name in kept]
    assert (await shelf.check()).exit_code == 0


async def test_an_attachment_makes_its_mail_incomplete_and_is_repaired_with_it(shelf):
    message = mail("Please find our prices.", ("prices.pdf", pdf("Rope costs 3 euros.", title="Prices")))
    (shelf.folder / "offer.eml").write_bytes(message.as_bytes())
    await shelf.ingest()
    prices = (await shelf.documents())["offer.eml#prices.pdf"]
    await shelf.delete_by_stock_class(prices.id)
    assert [each.source for each in (await shelf.check()).incomplete] == ["offer.eml#prices.pdf"]
    assert (await shelf.check(repair=True)).exit_code == 0
    assert await shelf.found("rope") == ["offer.eml#prices.pdf"]
    await shelf.delete_by_stock_class(prices.id)
    assert (await shelf.ingest()).changed == 1
    assert await shelf.found("rope") == ["offer.eml#prices.pdf"]


async def test_a_mail_that_nodes_were_added_to_keeps_its_attachments_with_a_reindex(shelf):
    message = mail("Please find our prices.", ("prices.pdf", pdf("Rope costs 3 euros.", title="Prices")))
    (shelf.folder / "offer.eml").write_bytes(message.as_bytes())
    await shelf.ingest()
    letter = (await shelf.documents())["offer.eml"]
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=letter.id)}
    node = TextNode(id_="n", text="a remark", embedding=[1.0] * DIMENSION, relationships=source)
    await (await shelf.store()).async_add([node])
    assert await shelf.found("rope") == ["offer.eml#prices.pdf"]
    result = await reindex(
        shelf.indexing, Inputs("docs", [], base=shelf.folder), resume=False, activate="always", golden=None,
        force=False, watch=lambda _: None,
    )  # fmt: skip
    assert result.activated
    assert await shelf.found("rope") == ["offer.eml#prices.pdf"]
    assert await shelf.found("prices") != []


async def test_what_has_no_bytes_or_nodes_of_its_own_is_named_and_left(shelf):
    store = await shelf.store()

    def node(name, of):
        source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=of)}
        return TextNode(id_=name, text=f"word{name}", embedding=[1.0] * DIMENSION, relationships=source)

    fees = (await shelf.documents())["fees.md"]
    await store.async_add([node("1", "added"), node("2", "added"), node("3", fees.id)])
    async with shelf.indexing.database.connection() as connection:
        await connection.execute("DELETE FROM footnote.data_generation_1 WHERE node_id IN ('1', '3')")
    checked = await shelf.check(repair=True)
    assert {each.source: reason for each, reason in checked.lost} == {"added": LOST, "fees.md": CHANGED}
    assert checked.exit_code == 1
    assert json.loads(json.dumps(checked.as_json()))["lost"][0].keys() == {"id", "source", "chunks", "found", "reason"}
    await store.async_add([node("1", "added"), node("2", "added")])  # they come back with their nodes
    assert [each.source for each in (await shelf.check()).incomplete] == ["fees.md"]
    await shelf.ingest()
    assert (await shelf.check()).exit_code == 0


async def test_many_documents_are_looked_at_page_by_page(shelf, monkeypatch):
    monkeypatch.setattr("storage.documents.incomplete.PAGE", 2)
    for number in range(5):
        (shelf.folder / f"{number}.md").write_text(f"# N\n\nnumber {number}")
    await shelf.ingest()
    async with shelf.indexing.database.connection() as connection:
        await connection.execute("DELETE FROM footnote.data_generation_1")
    generation = await shelf.indexing.collections.active("docs")
    found = [each async for each in IncompleteDocuments(shelf.indexing.database, generation=generation).all()]
    assert {each.source for each in found} == set(await shelf.documents())


async def test_the_command_checks_a_collection(shelf):
    async def run(*arguments):
        options = parse_arguments(["check", *arguments], description="")
        return await run_command(options, shelf.indexing, watch=lambda _: None, progress=None)

    assert (await run("docs", "--json")).as_json() == {
        "collection": "docs", "documents": 2, "incomplete": [], "lost": [], "repair": None, "exit_code": 0,
    }  # fmt: skip
    await shelf.delete_by_stock_class((await shelf.documents())["tides.md"].id)
    assert (await run("docs")).exit_code == 1
    assert (await run("docs", "--repair")).exit_code == 0
    with pytest.raises(CollectionNotFound):
        await run("nothing")
