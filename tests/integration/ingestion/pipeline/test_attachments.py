"""Attachments of mails as documents: they come, change and go with their mail, and never otherwise."""

from __future__ import annotations

import hashlib
from contextlib import AsyncExitStack
from email.message import EmailMessage

import pytest
from support.files import pdf
from support.indexings import open_made_up
from support.mails import mail
from support.workers import ended, submit, working

from config.settings import Settings
from ingestion.inputs.inputs import Inputs
from ingestion.jobs.handlers import Handlers
from ingestion.runs.reindexing import catch_up
from ingestion.runs.run import ingest, ingest_and_sync, reindex
from storage.collections.generations import Generations
from storage.documents.catalog import DocumentCatalog
from storage.documents.originals import Originals
from storage.documents.text import DocumentTexts
from storage.documents.writes import Documents, NewDocument
from storage.errors import DocumentAttached
from storage.jobs.payloads import IndexDocument
from storage.search.filters import Filter, FilterGroup
from storage.search.search import ChunkSearch, SearchRequest

PRICES = pdf("Anchor chain costs 12 euros.", "Rope costs 3 euros.", title="Prices")
PORTS = b"port,depth\nAlba,12 m\nBora,9 m\n"


@pytest.fixture
async def indexing(settings):
    async with open_made_up(settings) as opened:
        yield opened


class Inbox:
    """A folder of mails that is ingested into a collection."""

    def __init__(self, indexing, folder):
        self.indexing, self.folder = indexing, folder
        self.catalog = DocumentCatalog(indexing.database)

    def put(self, name: str, message: EmailMessage | bytes) -> None:
        (self.folder / name).write_bytes(message if isinstance(message, bytes) else message.as_bytes())

    def inputs(self, **options):
        return Inputs("docs", [str(self.folder)], base=self.folder, **options)

    async def ingest(self, **options):
        return await ingest(self.indexing, self.inputs(**options), watch=lambda _: None)

    async def sync(self):
        return await ingest_and_sync(self.indexing, self.inputs(), force=True, watch=lambda _: None)

    async def reindex(self, **options):
        inputs = Inputs("docs", options.pop("paths", []), base=self.folder)
        return await reindex(
            self.indexing, inputs, resume=False, activate="always", golden=None, force=False, watch=lambda _: None
        )

    async def documents(self, **options):
        items = (await self.catalog.list(collection="docs", limit=500, **options)).items
        return {item.source: item for item in items}

    async def found(self, text, *filters):
        generation = await self.indexing.collections.active("docs")
        search = ChunkSearch(self.indexing.database, generation=generation, settings=self.indexing.settings.retrieval)
        group = FilterGroup(filters=list(filters)) if filters else None
        hits = await search.search(SearchRequest(mode="keyword", limit=10, text=text, filters=group))
        return [(hit.metadata["source"], hit.metadata.get("page")) for hit in hits]


@pytest.fixture
def inbox(indexing, tmp_path):
    return Inbox(indexing, tmp_path)


async def revisions(inbox):
    return {source: (each.id, each.revision, each.ingested_at) for source, each in (await inbox.documents()).items()}


async def test_an_attachment_is_a_document_with_its_own_name_pages_and_link_to_its_mail(inbox):
    inbox.put("offer.eml", mail("Please find our prices.", ("prices.pdf", PRICES), ("ports.csv", PORTS)))
    report = await inbox.ingest(metadata={"team": "sales"})
    assert (report.added, report.attachments, report.exit_code, report.warned) == (1, 2, 0, [])
    assert report.as_json()["attachments"] == 2
    assert "1 added, with 2 attachments" in report.as_text()
    stored = await inbox.documents()
    assert set(stored) == {"offer.eml", "offer.eml#prices.pdf", "offer.eml#ports.csv"}
    letter, prices = stored["offer.eml"], stored["offer.eml#prices.pdf"]
    assert letter.metadata["attachments"] == ["prices.pdf", "ports.csv"]
    assert letter.parent is None
    assert (prices.parent, prices.title, prices.pages, prices.bytes) == (letter.id, "Prices", 2, len(PRICES))
    assert prices.metadata == {
        "attached_to": "offer.eml",
        "file_name": "prices.pdf",
        "media_type": "application/pdf",
        "mail_subject": "The offer",
        "mail_from": "Ulla <ulla@example.org>",
        "mail_to": "Bo <bo@example.org>",
        "mail_date": "2024-10-01T19:00:00+00:00",
        "team": "sales",
    }
    assert prices.content_hash == hashlib.sha256(PRICES).hexdigest()
    assert [block async for block in Originals(inbox.indexing.database).blocks(prices.content_hash)] == [PRICES]
    assert await inbox.found("rope") == [("offer.eml#prices.pdf", 2)]
    assert await inbox.found("alba depth", Filter(key="file_name", value="ports.csv")) == [
        ("offer.eml#ports.csv", None)
    ]
    assert await inbox.found("rope", Filter(key="attached_to", value="other.eml")) == []
    text = await DocumentTexts(inbox.indexing.database).whole(prices.id, collection="docs")
    assert len(text.pages) == 2
    assert set(await inbox.documents(parent=letter.id)) == {"offer.eml#prices.pdf", "offer.eml#ports.csv"}


async def test_a_mail_that_is_unchanged_leaves_all_unchanged(inbox):
    inbox.put("offer.eml", mail("Prices.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    before = await revisions(inbox)
    report = await inbox.ingest()
    assert (report.unchanged, report.attachments) == (1, 0)
    assert await revisions(inbox) == before


async def test_a_changed_mail_updates_its_attachments_and_removes_those_it_has_no_more(inbox):
    inbox.put("offer.eml", mail("Prices.", ("prices.pdf", PRICES), ("ports.csv", PORTS)))
    await inbox.ingest()
    before = await inbox.documents()
    inbox.indexing.embedders.model.texts_seen.clear()
    inbox.put("offer.eml", mail("New ones.", ("notes.md", b"# Notes\n\nOf pike.\n"), ("prices.pdf", PRICES)))
    report = await inbox.ingest()
    assert (report.changed, report.attachments, report.reused) == (1, 2, 2)
    after = await inbox.documents()
    assert set(after) == {"offer.eml", "offer.eml#prices.pdf", "offer.eml#notes.md"}
    assert after["offer.eml#prices.pdf"].id == before["offer.eml#prices.pdf"].id
    assert await inbox.found("alba") == []
    inbox.put("offer.eml", mail("None."))
    await inbox.ingest()
    assert set(await inbox.documents()) == {"offer.eml"}


async def test_a_moved_mail_takes_its_attachments_with_it(inbox):
    inbox.put("a.eml", mail("Prices.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    before = await inbox.documents()
    (inbox.folder / "a.eml").rename(inbox.folder / "b.eml")
    assert (await inbox.ingest()).moved == 1
    after = await inbox.documents()
    assert set(after) == {"b.eml", "b.eml#prices.pdf"}
    assert after["b.eml#prices.pdf"].id == before["a.eml#prices.pdf"].id
    assert after["b.eml#prices.pdf"].metadata["attached_to"] == "b.eml"


async def test_a_mail_whose_file_is_gone_takes_its_attachments_with_it(inbox):
    for name in ("a.eml", "b.eml"):
        inbox.put(name, mail(f"Of {name}.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    (inbox.folder / "a.eml").unlink()
    outcome = await inbox.sync()
    assert (outcome.report.deleted, outcome.synced.documents) == (1, 2)
    assert set(await inbox.documents()) == {"b.eml", "b.eml#prices.pdf"}
    assert await inbox.found("rope") == [("b.eml#prices.pdf", 2)]


async def test_a_mail_is_deleted_with_its_attachments_and_these_not_alone(inbox):
    inbox.put("a.eml", mail("Prices.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    stored = await inbox.documents()
    documents = Documents(inbox.indexing.database, generation=await inbox.indexing.collections.active("docs"))
    with pytest.raises(DocumentAttached, match=stored["a.eml"].id):
        await documents.delete(stored["a.eml#prices.pdf"].id)
    assert set(await inbox.documents()) == set(stored)
    assert await documents.delete(stored["a.eml"].id)
    assert await inbox.documents() == {}
    assert await inbox.found("rope") == []


async def test_nobody_replaces_an_attachment_alone(inbox):
    inbox.put("a.eml", mail("Prices.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    attachment = (await inbox.documents())["a.eml#prices.pdf"]
    documents = Documents(inbox.indexing.database, generation=await inbox.indexing.collections.active("docs"))
    state = (await documents.by_ids([attachment.id]))[attachment.id]
    new = NewDocument(attachment.id, "mine", None, "Mine", {}, "0" * 64, "f", 1, await documents.next_revision())
    with pytest.raises(DocumentAttached):
        await documents.write(new, [], replaces=state)


async def test_neither_an_attachment_nor_a_file_of_its_name_keeps_the_other_from_its_place(inbox):
    inbox.put("a.eml", mail("Prices.", ("prices.md", b"# Attached\n\nOf cod.\n")))
    await inbox.ingest()
    inbox.put("a.eml#prices.md", b"# File\n\nOf pike.\n")
    assert (await inbox.ingest()).added == 1
    inbox.put("a.eml", mail("Prices again.", ("prices.md", b"# Attached\n\nOf herring.\n")))
    assert (await inbox.ingest()).changed == 1
    items = (await inbox.catalog.list(collection="docs", limit=9)).items
    assert sorted((item.source, item.title) for item in items) == [
        ("a.eml", "The offer"), ("a.eml#prices.md", "Attached"), ("a.eml#prices.md", "File"),
    ]  # fmt: skip
    (inbox.folder / "a.eml#prices.md").unlink()
    await inbox.sync()
    assert (await inbox.documents())["a.eml#prices.md"].title == "Attached"


async def test_a_file_with_the_bytes_of_an_attachment_is_a_document_of_its_own(inbox):
    inbox.put("a.eml", mail("Prices.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    inbox.put("prices.pdf", PRICES)
    assert (await inbox.ingest()).added == 1
    assert set(await inbox.documents()) == {"a.eml", "a.eml#prices.pdf", "prices.pdf"}


async def test_an_id_that_somebody_took_is_left_to_them(inbox):
    inbox.put("a.eml", mail("Prices.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    attachment = (await inbox.documents())["a.eml#prices.pdf"]
    inbox.put("a.eml", mail("None."))
    await inbox.ingest()
    documents = Documents(inbox.indexing.database, generation=await inbox.indexing.collections.active("docs"))
    new = NewDocument(attachment.id, "mine", None, "Mine", {}, "0" * 64, "f", 1, await documents.next_revision())
    assert await documents.write(new, [], replaces=None) == "written"
    inbox.put("a.eml", mail("Again.", ("prices.pdf", PRICES)))
    assert (await inbox.ingest()).changed == 1
    stored = await inbox.documents()
    assert (stored["mine"].id, stored["mine"].parent) == (attachment.id, None)
    assert stored["a.eml#prices.pdf"].id != attachment.id


async def test_what_cannot_be_read_is_said_of_the_mail_and_the_rest_is_there(inbox):
    files = [
        ("locked.pdf", pdf("Secret.", password="secret")), ("old.zip", b"PK\x05\x06" + bytes(18)), ("empty.csv", b""),
        ("prices.md", b"# One\n\nOf cod.\n"), ("prices.md", b"# Two\n\nOf pike.\n"),
        ("a\\..\\..\\evil\x07.md", b"Of eel.\n"),
    ]  # fmt: skip
    inbox.put("a.eml", mail("Files.", *files))
    report = await inbox.ingest()
    assert (report.added, report.attachments, report.exit_code) == (1, 3, 0)
    said = {entry.warning.detail.partition(":")[0]: entry.warning for entry in report.warned}
    assert set(said) == {"locked.pdf", "old.zip", "empty.csv"}
    assert {warning.kind for warning in said.values()} == {"attachment-not-read"}
    assert "encrypted" in said["locked.pdf"].detail
    stored = await inbox.documents()
    assert len(stored["a.eml"].warnings) == 3
    assert stored["a.eml#prices.md"].title == "One"
    assert stored["a.eml#prices (2).md"].title == "Two"
    assert stored["a.eml#prices (2).md"].metadata["file_name"] == "prices.md"
    assert "a.eml#evil.md" in stored


async def test_forwarded_mails_stay_in_the_letter_and_their_files_are_documents_too(inbox):
    inner = mail("Below the quay.", ("ports.csv", PORTS), subject="The ports")
    attached = mail("As a file.", ("prices.pdf", PRICES), subject="The file")
    inbox.put("a.eml", mail("See below.", ("inner.eml", attached.as_bytes()), inner=[inner]))
    report = await inbox.ingest()
    assert (report.added, report.attachments) == (1, 3)
    stored = await inbox.documents()
    letter = stored["a.eml"]
    assert set(stored) == {"a.eml", "a.eml#ports.csv", "a.eml#inner.eml", "a.eml#inner.eml#prices.pdf"}
    assert {each.parent for each in stored.values()} == {None, letter.id}
    assert stored["a.eml#ports.csv"].metadata["mail_subject"] == "The ports"
    assert stored["a.eml#inner.eml#prices.pdf"].metadata["mail_subject"] == "The file"
    assert await inbox.found("quay") == [("a.eml", None)]


async def test_more_files_than_are_read_are_said(inbox, monkeypatch):
    monkeypatch.setattr("ingestion.pipeline.attachments.MAX_READ", 3)
    inbox.put("a.eml", mail("Many.", *[(f"{number}.md", b"# A\n\nOf cod.\n") for number in range(20)]))
    report = await inbox.ingest()
    assert report.attachments == 3
    (said,) = report.warned
    assert said.warning.detail.startswith("17 attachments were not read, beyond the first 3,")


async def test_a_strict_run_fails_a_mail_whose_attachment_cannot_be_read(inbox, settings):
    strict = settings.model_copy(update={"ingestion": settings.ingestion.model_copy(update={"strict": True})})
    inbox.put("a.eml", mail("Files.", ("prices.md", b"Of cod."), ("latin.txt", "Fähre fährt täglich".encode("cp1252"))))
    async with open_made_up(strict) as indexing:
        report = await Inbox(indexing, inbox.folder).ingest()
    assert report.numbers["failed"] == 1
    assert "latin.txt" in report.failed[0].reason


async def test_a_setting_that_changes_makes_sections_or_documents_of_them(inbox, settings):
    inbox.put("a.eml", mail("Files.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    changed = settings.model_copy(
        update={"ingestion": settings.ingestion.model_copy(update={"attachments": "sections"})}
    )
    async with open_made_up(changed) as indexing:
        assert (await Inbox(indexing, inbox.folder).ingest()).changed == 1
        assert await Inbox(indexing, inbox.folder).found("rope") == [("a.eml", None)]
    assert set(await inbox.documents()) == {"a.eml"}
    assert (await inbox.ingest()).attachments == 1


@pytest.mark.parametrize("paths", [[], ["."]])
async def test_a_reindex_builds_attachments_anew_from_the_bytes_of_their_mail(inbox, paths):
    inbox.put("a.eml", mail("Files.", ("prices.pdf", PRICES)))
    await inbox.ingest(metadata={"team": "sales"})
    before = await inbox.documents()
    if not paths:
        (inbox.folder / "a.eml").unlink()
    outcome = await inbox.reindex(paths=[str(inbox.folder)] if paths else [])
    assert outcome.activated
    after = await inbox.documents()
    assert {source: each.id for source, each in after.items()} == {source: each.id for source, each in before.items()}
    if not paths:
        assert after["a.eml#prices.pdf"].metadata == before["a.eml#prices.pdf"].metadata
    assert after["a.eml#prices.pdf"].parent == after["a.eml"].id
    generation = await inbox.indexing.collections.active("docs")
    assert generation.name == "2"


async def test_a_rollback_carries_attachments_with_their_mails_and_lacks_nothing(inbox):
    inbox.put("a.eml", mail("Files.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    await inbox.reindex()
    inbox.put("b.eml", mail("More.", ("ports.csv", PORTS)))
    await inbox.ingest()
    newer = await inbox.indexing.collections.active("docs")
    await Generations(inbox.indexing.database).activate("docs", "1")
    older = await inbox.indexing.collections.active("docs")
    report = await catch_up(inbox.indexing, target=older, reference=newer)
    assert (report.carried, report.attachments, report.numbers["failed"]) == (1, 1, 0)
    assert set(await inbox.documents()) == {"a.eml", "a.eml#prices.pdf", "b.eml", "b.eml#ports.csv"}


async def test_a_deleted_mail_is_gone_from_all_generations_with_its_attachments(inbox):
    inbox.put("a.eml", mail("Files.", ("prices.pdf", PRICES)))
    await inbox.ingest()
    await inbox.reindex()
    generation = await inbox.indexing.collections.active("docs")
    letter = (await inbox.documents())["a.eml"]
    await Documents(inbox.indexing.database, generation=generation).delete(letter.id)
    async with inbox.indexing.database.dedicated(as_owner=True) as connection:
        assert await connection.fetchval("SELECT count(*) FROM footnote.documents") == 0
        for name in ("data_generation_1", f"data_generation_{generation.id}"):
            assert await connection.fetchval(f"SELECT count(*) FROM footnote.{name}") == 0


async def test_a_job_counts_attachments_and_a_new_version_replaces_them(settings: Settings, database, tmp_path):
    async with open_made_up(settings) as indexing, AsyncExitStack() as stack:
        await indexing.ensure("docs")
        handlers = Handlers(indexing, settings=settings, stack=stack).mapping
        results = []
        async with working(settings, database, handlers):
            for version, name in (
                (mail("Files.", ("prices.pdf", PRICES), ("ports.csv", PORTS)).as_bytes(), "a.eml"),
                (b"# No mail\n\nAny more.\n", "a.md"),
            ):
                path = tmp_path / "upload"
                path.write_bytes(version)
                digest = hashlib.sha256(version).hexdigest()
                await Originals(database).put(path, content_hash=digest)
                documents = Documents(database, generation=await indexing.collections.active("docs"))
                payload = IndexDocument(
                    source="mine", revision=await documents.next_revision(), content_hash=digest, name=name
                )
                job = await submit(
                    database, kind=payload.kind, arguments=payload.arguments(), collection="docs", document_id="mine"
                )
                job = await ended(database, job.id)
                listed = await DocumentCatalog(database).list(collection="docs", limit=9)
                results.append((job.result["outcome"], job.result["attachments"], len(listed.items)))
    assert results == [("added", 2, 3), ("changed", 0, 1)]
