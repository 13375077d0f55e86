from __future__ import annotations

from pathlib import Path

import pytest
from support import files

from ingestion.errors import Unreadable
from ingestion.readers import read
from ingestion.types import Extracted


def made(name: str, data: bytes | str) -> Extracted:
    return read(Path(name), data=data.encode() if isinstance(data, str) else data)


def refusal(name: str, data: bytes | str) -> str:
    with pytest.raises(Unreadable) as caught:
        made(name, data)
    return str(caught.value)


PAGE = """<!DOCTYPE html><html><head><title>Storage &amp; more</title><style>.x{}</style></head><body>
<header><a href="/">Home</a></header><nav><a href="/a">Elsewhere</a></nav><div class="navheader">Prev Next</div>
<div class="sidebar-layout">
<div class="titlepage"><h2 class="title">20.4. Resources</h2></div><div class="toc"><a href="#m">Memory</a></div>
<h3>20.4.1. Memory</h3><dl><dt><code>shared_buffers</code> (<code>integer</code>)</dt><dd><p>Sets the   amount
of memory. See <a href="x.html">Section 19</a>.</p></dd></dl>
<pre>CREATE TABLE <em><code>name</code></em> (
  id int
);</pre>
<section id="FOR-UPDATE-SHARE"><p>Locks rows.</p></section>
<table><tr><th>Code</th><th>Meaning</th></tr><tr><td>08000</td><td>connection|exception</td></tr></table>
<ul><li>one</li><li>two</li></ul><img src="x.png" alt="A diagram"><script>alert(1)</script><!-- a comment --></div>
<footer>Copyright</footer></body></html>"""


def test_a_page_is_its_content_with_headings_tables_and_code() -> None:
    page = made("a.html", PAGE)
    assert page.title == "Storage & more"
    assert [(h.level, h.text) for h in page.headings] == [(2, "20.4. Resources"), (3, "20.4.1. Memory")]
    assert "`shared_buffers` (`integer`)" in page.text
    assert "Sets the amount of memory. See Section 19." in page.text
    assert "```\nCREATE TABLE name (\n  id int\n);\n```" in page.text
    assert "| 08000 | connection\\|exception |" in page.text
    assert "Locks rows." in page.text
    assert "A diagram" in page.text
    for surroundings in ("Home", "Elsewhere", "Prev", "Copyright", "alert", "comment", "x.html", ".x{}"):
        assert surroundings not in page.text


def test_the_main_part_of_a_page_is_taken_where_it_is_marked() -> None:
    words = "<p>Content of the article, sentence by sentence, goes on for a while.</p>" * 5
    page = made(
        "a.html", f"<body><div>Welcome to our site</div><main><h1>Topic</h1>{words}</main><div>More</div></body>"
    )
    assert page.title == "Topic"
    assert "Welcome" not in page.text
    assert page.text.count("Content of the article") == 5


def test_a_page_of_links_without_a_mark_is_left_to_the_article_finder() -> None:
    links = "".join(f'<li><a href="/{n}">A link to somewhere else, number {n}</a></li>' for n in range(60))
    words = "<p>" + "The article says something of substance about databases. " * 8 + "</p>"
    page = made(
        "a.html",
        f"<html><body><div><ul>{links}</ul></div><div class='post'><h1>Story</h1>{words * 2}</div></body></html>",
    )
    assert "something of substance" in page.text
    assert "number 30" not in page.text


@pytest.mark.parametrize("encoding", ["iso-8859-1", "windows-1251", "shift_jis", "utf-8"])
def test_a_page_may_name_its_encoding(encoding: str) -> None:
    text = {"windows-1251": "Привет", "shift_jis": "日本語"}.get(encoding, "Grüße")
    page = made(
        "a.html", f'<html><head><meta charset="{encoding}"></head><body><p>{text}</p></body></html>'.encode(encoding)
    )
    assert page.text == text


@pytest.mark.parametrize("depth", [200, 1_000, 3_000, 100_000])
@pytest.mark.parametrize("tag", ["div", "b", "blockquote", "ul><li", "table><tr><td", "unknown-tag"])
def test_a_page_is_read_however_deeply_it_is_nested(tag: str, depth: int) -> None:
    text = made("a.html", f"<p>before</p>{f'<{tag}>' * depth}inner words<p>after").text
    assert [text.count(words) for words in ("before", "inner words", "after")] == [1, 1, 1]


def test_entities_of_a_page_read_no_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    page = made("a.html", f'<!DOCTYPE html [<!ENTITY x SYSTEM "file://{secret}">]><p>hi &x; there</p>')
    assert "hunter2" not in page.text


def test_a_pdf_has_pages_a_title_and_its_bookmarks_as_headings() -> None:
    data = files.pdf(
        "First page.\nChapter One\nbegins here.", "Second page.", title="A Book", outline={1: "Chapter One", 2: "Two"}
    )
    book = made("a.pdf", data)
    assert book.title == "A Book"
    assert book.pages == (0, book.text.index("Second"))
    assert [(h.text, h.offset) for h in book.headings] == [
        ("Chapter One", book.text.index("Chapter")),
        ("Two", book.pages[1]),
    ]


def test_words_broken_at_the_end_of_a_line_are_mended() -> None:
    text = made("a.pdf", files.pdf("This is an exam-\nple by the Anglo-\nSaxon people.")).text
    assert "an example by the Anglo-Saxon people." in text


def test_a_pdf_under_the_name_of_a_text_is_read_as_pdf() -> None:
    assert made("a.txt", files.pdf("Hello from a PDF.")).text.strip() == "Hello from a PDF."


def test_pdfs_that_give_no_text_are_refused_each_with_its_reason() -> None:
    assert refusal("a.pdf", files.pdf("x", password="secret")) == "an encrypted PDF; remove its password first"
    assert refusal("a.pdf", files.scanned_pdf()) == "a PDF of pictures in which no text was found"
    assert refusal("a.pdf", files.pdf_without_pages()) == "a damaged PDF, or one without pages"
    assert refusal("a.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 20) == "a damaged PDF, or one without pages"
    assert refusal("a.pdf", files.pdf("")) == "there is no text in it"


def test_a_word_document_has_headings_and_tables() -> None:
    data = files.docx(
        title="Report", sections={"Aims": "To learn.", "Means": "By reading."}, table=[["Year", "Sum"], ["2026", "7"]]
    )
    report = made("a.docx", data)
    assert report.title == "Report"
    assert [(h.level, h.text) for h in report.headings] == [(1, "Aims"), (1, "Means")]
    assert "| 2026 | 7 |" in report.text


def test_a_presentation_has_a_page_a_slide() -> None:
    talk = made(
        "a.pptx", files.pptx(("Opening", "Welcome all"), ("<!-- Slide number: 2 -->", "A trap"), ("End", "Bye"))
    )
    assert len(talk.pages) == 3
    assert [talk.text[offset:].split("\n")[0] for offset in talk.pages] == [
        "# Opening",
        "# <!-- Slide number: 2 -->",
        "# End",
    ]
    assert talk.headings[-1].text == "End"
    assert talk.title == "Opening"


def test_a_workbook_has_a_heading_a_sheet_and_says_what_each_value_is() -> None:
    rows: list[list[object]] = [["Name", "Height"], ["Ada", 1.5], ["Bob", 2.0], [None, None], ["Eve", None]]
    book = made("sizes.xlsx", files.xlsx(People=rows, Empty=[]))
    assert [h.text for h in book.headings] == ["People"]
    assert book.text.strip() == "# People\n\nName: Ada\nHeight: 1.5\n\nName: Bob\nHeight: 2\n\nName: Eve"
    assert book.title == "sizes"


@pytest.mark.parametrize(("folder", "name"), [("word", "a.docx"), ("ppt", "a.pptx"), ("xl", "a.xlsx")])
def test_an_office_file_that_unpacks_to_a_bomb_is_refused(folder: str, name: str) -> None:
    assert "zip bomb" in refusal(name, files.zip_bomb(suffix_folder=folder, unpacked=50 << 20))


def test_a_damaged_office_file_is_refused() -> None:
    assert refusal("a.docx", files.docx(sections={"A": "b"})[:3000]) == "a damaged archive or Office file"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_in_text_says_what_each_value_is(delimiter: str) -> None:
    rows = [["city", "people"], ["Köln", "1000000"], ["Bonn", "300000"]]
    table = made("a.csv", "\r\n".join(delimiter.join(row) for row in rows))
    assert table.text == "city: Köln\npeople: 1000000\n\ncity: Bonn\npeople: 300000"


def test_a_table_without_a_header_counts_its_columns() -> None:
    assert made("a.csv", "1,2\n3,4\n").text == "column 1: 1\ncolumn 2: 2\n\ncolumn 1: 3\ncolumn 2: 4"


def test_a_table_with_a_cell_of_a_megabyte_is_read() -> None:
    assert len(made("a.csv", "name,text\nada," + "x" * 1_000_000 + "\n").text) > 1_000_000


def test_a_mail_is_its_letter_below_senders_and_dates_which_are_metadata_too() -> None:
    letter = made(
        "a.eml", files.mail(subject="Grüße", plain="Dear Bob,\nall well.", html="<p>no</p>", attachment="plan.pdf")
    )
    assert letter.title == "Grüße"
    heads = "From: Ada <ada@example.org>\nTo: bob@example.org\nDate: Tue, 03 Mar 2026 10:00:00 +0100\nSubject: Grüße"
    assert letter.text.strip() == f"{heads}\n\nDear Bob,\nall well."
    assert letter.metadata == {
        "from": "Ada <ada@example.org>",
        "to": "bob@example.org",
        "date": "2026-03-03T10:00:00+01:00",
        "attachments": ["plan.pdf"],
    }


def test_a_mail_in_html_only_is_read_too() -> None:
    assert made("a.eml", files.mail(subject="Hi", html="<p>Dear <b>Bob</b></p>")).text.endswith(
        "Subject: Hi\n\nDear Bob"
    )


def test_a_mail_with_broken_headers_is_read_as_far_as_it_goes() -> None:
    letter = made(
        "a.eml", b'Subject: =?utf-8?q?=ff?=\nTo: "x\nDate: never\nContent-Type: text/plain; charset=klingon\n\nbody'
    )
    assert letter.text == 'To: "x\nDate: never\nSubject: я\n\nbody'
    assert letter.metadata["date"] == "never"
