"""What people read of a run."""

from ingestion.pipeline.report import DELETES_GONE, IngestReport
from ingestion.types import ReadWarning


def test_names_stand_in_the_order_in_which_people_count():
    report = IngestReport("notes", unchanged=1)
    for number in (127, 152, 9, 128):
        report.count("added", f"note{number}.md")
        report.skip(f"scan{number}.pdf", "no text")
        report.warn(f"old{number}.doc", [ReadWarning("truncated", "too long")])
    names = [line.split()[1].rstrip(":") for line in report.as_text().splitlines() if line.startswith("  ")]
    assert names == [
        f"{stem}{number}.{suffix}"
        for stem, suffix in (("note", "md"), ("scan", "pdf"), ("old", "doc"))
        for number in (9, 127, 128, 152)
    ]
    added = report.as_json()["changes"]["added"]
    assert [each["source"] for each in added] == names[:4]


def test_names_without_numbers_are_in_alphabetical_order_whatever_the_case():
    report = IngestReport("notes")
    for name in ("b.md", "C.md", "a/2/x.md", "a/10/x.md", "a"):
        report.fail(name, "broken")
    assert [each["path"] for each in report.as_json()["failed"]] == ["a", "a/2/x.md", "a/10/x.md", "b.md", "C.md"]


def test_ten_of_the_documents_that_have_no_file_are_named_and_the_others_counted():
    report = IngestReport("notes", unchanged=1)
    report.count_gone([f"note{number}.md" for number in reversed(range(12))])
    told, *named = report.as_text().splitlines()[1:]
    assert told == f"12 documents are still found though the file is gone; {DELETES_GONE}"
    assert named == [*(f"  gone note{number}.md" for number in range(10)), "  … and 2 more gone"]
