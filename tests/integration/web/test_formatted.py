"""The text of a document as its Markdown means it, with what is cited marked at its place, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import quote as quoted

import pytest
from support import scripted as scripts
from support.browser import Browser, Watched, open_browser
from support.scripted import ScriptedDocumentTexts, running, scripted_app

from storage.documents.text import DocumentText

TEXT = """# Travel policy 🚢

Trains are **preferred** to [planes](https://rail.example/why?a=1) &amp; cars. Book *early*, says `travel --help`.
A line that goes on
in the next one.

## Hotels

| City | Most | Breakfast |
| --- | ---: | --- |
| Oslo | 210 | yes |
| Bergen | 180 | no |
| Tromsø | 195 | yes, from 7 am |

1. Ask first.
2. Pay *later*, by card.
   - Keep the bill.
   - Send it.

```python
print("no receipt")
```

- [x] signed
- [ ] sent

> A quotation, with a [reference][1].

[1]: https://rail.example/reference

The end is near. It is here.
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, once for all tests of the module."""
    with open_browser() as opened:
        yield opened


def known(monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setattr(scripts, "KNOWN", [replace(each, source=source) for each in scripts.KNOWN])


@contextmanager
def opened(
    browser: Browser, text: str, *, marked: str = "", quotes: tuple[str, ...] = (), **options: Any
) -> Iterator[Watched]:
    """Open a document's text at a passage, with quotations from it."""

    class Texts(ScriptedDocumentTexts):
        async def whole(self, document_id: str, /, *, collection: str, revision: int | None = None) -> DocumentText:
            return replace(await super().whole(document_id, collection=collection, revision=revision), text=text)

    made = scripted_app()
    made.runtime.document_texts = Texts()
    place = ""
    if marked:
        spans = ["-".join(map(str, span_of(text, each))) for each in quotes]
        start, end = span_of(text, marked)
        place = f"&start={start}&end={end}&quotes={quoted(','.join(spans))}"
    path = f"/#/documents?doc=doc-1&in=default{place}"
    with running(made.app) as server, browser.page(server.url, path=path, **options) as page:
        page.tab.locator(".viewer .text").wait_for()
        yield page


def span_of(text: str, part: str) -> tuple[int, int]:
    assert text.count(part) == 1
    start = text.index(part)
    return start, start + len(part)


def quotes_of(page: Watched) -> list[str]:
    texts: list[str] = page.tab.locator(".viewer mark.quote").all_inner_texts()
    return texts


@pytest.fixture(autouse=True)
def _markdown(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, "travel.md")


def test_it_is_shown_as_it_is_meant_or_as_it_is_written(browser: Browser) -> None:
    with opened(browser, TEXT) as page:
        shown = page.tab.locator(".viewer .text")
        assert shown.locator("h3").inner_text() == "Travel policy 🚢"
        assert shown.locator("table tr").count() == 4
        assert "---" not in shown.inner_text()
        assert shown.locator("ol > li").count() == 2
        assert page.seriously_wrong() == []
        page.tab.get_by_label("As it is written").check()
        assert "| --- | ---: | --- |" in page.tab.locator(".viewer .text").inner_text()
        page.tab.get_by_label("As it is written").uncheck()
        page.tab.locator(".viewer .text table").wait_for()


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (
            "Trains are **preferred** to [planes](https://rail.example/why?a=1) &amp; cars.",
            "Trains are preferred to planes & cars.",
        ),
        ("Book *early*, says `travel --help`.", "Book early, says travel --help."),
        ("A line that goes on\nin the next one.", "A line that goes on in the next one."),
        ("Pay *later*, by card.", "Pay later, by card."),
        ("Keep the bill.", "Keep the bill."),
        ('print("no receipt")', 'print("no receipt")'),
        ("signed", "signed"),
        ("A quotation, with a [reference][1].", "A quotation, with a reference."),
        ("The end is near.", "The end is near."),
        ("It is here.", "It is here."),
        ("yes, from 7 am", "yes, from 7 am"),
    ],
)
def test_what_is_quoted_is_marked_exactly(browser: Browser, written: str, shown: str) -> None:
    with opened(browser, TEXT, marked=TEXT.strip(), quotes=(written,)) as page:
        assert "".join(quotes_of(page)) == shown
        assert page.tab.locator(".viewer .blocks").count() == 1  # all of it is the passage


def test_a_passage_that_begins_in_a_paragraph_is_marked_from_there(browser: Browser) -> None:
    passage = "says `travel --help`.\nA line that goes on\nin the next one.\n\n## Hotels"
    with opened(browser, TEXT, marked=passage, quotes=("in the next one.",)) as page:
        marked = page.tab.locator(".viewer .passage-mark")
        text = " ".join("".join(marked.all_inner_texts()).split())
        assert text.replace(" ", "") == "saystravel--help.AlinethatgoesoninthenextoneHotels".replace(
            "oneHotels", "one.Hotels"
        )
        assert quotes_of(page) == ["in the next one."]
        assert page.tab.locator(".viewer .blocks").inner_text() == "Hotels"


def test_rows_of_a_table_are_marked_as_rows(browser: Browser) -> None:
    rows = "| Bergen | 180 | no |\n| Tromsø | 195 | yes, from 7 am |"
    with opened(browser, TEXT, marked=rows, quotes=("Tromsø | 195",)) as page:
        marked = page.tab.locator(".viewer tr.passage-mark")
        assert [each.split("\t")[0] for each in marked.all_inner_texts()] == ["Bergen", "Tromsø"]
        assert page.tab.locator(".viewer tr.quote").inner_text().split("\t") == ["Tromsø", "195", "yes, from 7 am"]
        box, frame = (page.tab.locator(each).bounding_box() for each in (".viewer tr.quote", ".document-text"))
        assert frame["y"] < box["y"] < frame["y"] + frame["height"]


@pytest.mark.parametrize("source", ["notes.txt", "server.log", "main.py", "https://host.org/robots.txt", "data.csv"])
def test_what_is_not_markdown_stays_plain(browser: Browser, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    known(monkeypatch, source)
    with opened(browser, TEXT, marked="# Travel policy 🚢") as page:
        assert (
            page.tab.locator(".viewer .text").inner_text().startswith("# Travel policy 🚢\n\nTrains are **preferred**")
        )
        assert page.tab.get_by_label("As it is written").count() == 0
        assert page.tab.locator(".viewer mark.passage-mark").inner_text() == "# Travel policy 🚢"


@pytest.mark.parametrize(
    "source", ["a.docx", "b.PDF", "https://host.org", "https://host.org/page?a=b.txt", "mail/c.html"]
)
def test_what_was_made_of_something_formatted_is_markdown(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    known(monkeypatch, source)
    with opened(browser, TEXT) as page:
        page.tab.locator(".viewer .text table").wait_for()


HOSTILE = """# <img src=x onerror=wasRun()>

<script>wasRun()</script>

<svg onload=wasRun()><style>* { display: none }</style></svg>

[click](javascript:wasRun()) ![see](https://evil.example/?leak=1) <a href="javascript:wasRun()">x</a> [ref]

[ref]: javascript:wasRun()

| <iframe srcdoc='<script>parent.wasRun()</script>'></iframe> | b |
| --- | --- |
| <form action=https://evil.example><button>go</button></form> | "><base href=https://evil.example/> |

```html"onload=wasRun()
<img src=x onerror=wasRun()>
```

<details open ontoggle=wasRun()><mark class="quote">no</mark></details>

Marked <b onclick=wasRun()>here</b>.
"""


def test_nothing_of_it_runs(browser: Browser) -> None:
    with opened(browser, HOSTILE, marked=HOSTILE.strip(), quotes=("Marked <b onclick=wasRun()>here</b>.",)) as page:
        for name in ("img", "script", "iframe", "form", "base", "svg", "style", "details", "[style]", "[onerror]", "b"):
            assert page.tab.locator(f".viewer .text {name}").count() == 0, name
        links = page.tab.eval_on_selector_all(".viewer .text a", "all => all.map((each) => each.getAttribute('href'))")
        assert [each for each in links if each] == ["https://evil.example/?leak=1"]
        assert quotes_of(page) == ["Marked <b onclick=wasRun()>here</b>."]


def test_a_long_one_is_shown_around_the_passage_and_then_whole(browser: Browser) -> None:
    many = [f"## Part {number}\n\n{'A word or two. ' * 40}\n\nIt is number {number}.\n\n" for number in range(400)]
    with opened(browser, "".join(many), marked="It is number 200.", quotes=("It is number 200.",)) as page:
        assert quotes_of(page) == ["It is number 200."]
        assert page.tab.get_by_role("heading", name="Part 3", exact=True).count() == 0
        page.tab.get_by_role("button", name="More").first.click()
        page.tab.get_by_role("heading", name="Part 3", exact=True).wait_for()
        assert quotes_of(page) == ["It is number 200."]


SHEET = """# Fees 2026

Month: January
Fees: 4200
Crane: 0

Month: February
Crane: 150: by hand
Bar: 280
2026: *

Berth: 1
Boat: Alma 🚢

Berth: 2
Boat: <img src=x onerror=wasRun()>

Payable within: 30 days

Without a name
at all
"""


@pytest.fixture
def _sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, "fees.xlsx")


@pytest.mark.usefixtures("_sheet")
def test_rows_of_a_sheet_are_shown_as_tables(browser: Browser) -> None:
    with opened(browser, SHEET) as page:
        shown = page.tab.locator(".viewer .text")
        assert shown.locator("h3").inner_text() == "Fees 2026"
        rows = "(all) => all.map((row) => [...row.cells].map((cell) => cell.textContent))"
        assert shown.locator("tr").evaluate_all(rows) == [
            ["Month", "Fees", "Crane", "Bar", "2026"],
            ["January", "4200", "0", "", ""],
            ["February", "", "150: by hand", "280", "*"],
            ["Berth", "Boat"],
            ["1", "Alma 🚢"],
            ["2", "<img src=x onerror=wasRun()>"],
        ]
        assert shown.locator("table").count() == 2
        lines = shown.locator(".as-written").all_inner_texts()
        assert lines == ["Payable within: 30 days", "Without a name\nat all"]
        assert page.seriously_wrong() == []
        page.tab.get_by_label("As it is written").check()
        assert "Month: January\nFees: 4200\nCrane: 0\n\n" in page.tab.locator(".viewer .text").inner_text()


@pytest.mark.usefixtures("_sheet")
@pytest.mark.parametrize(
    ("quote", "words", "rows"),
    [
        ("Crane: 150: by hand", ["150: by hand"], []),
        ("4200", ["4200"], []),
        ("Month: February\nCrane: 150: by hand\nBar: 280", [], ["February\t\t150: by hand\t280\t*"]),
        ("2026: *", [], ["February\t\t150: by hand\t280\t*"]),  # no letter of it is shown in the row
        ("Alma 🚢", ["Alma 🚢"], []),
        ("Payable within: 30 days", ["Payable within: 30 days"], []),
    ],
)
def test_what_is_quoted_of_a_sheet_is_marked(browser: Browser, quote: str, words: list[str], rows: list[str]) -> None:
    with opened(browser, SHEET, marked=SHEET.strip(), quotes=(quote,)) as page:
        assert quotes_of(page) == words
        assert page.tab.locator(".viewer tr.quote").all_inner_texts() == rows
        assert page.tab.locator(".viewer .blocks").count() == 1  # all of it is the passage


@pytest.mark.usefixtures("_sheet")
def test_a_row_of_a_sheet_is_marked_alone(browser: Browser) -> None:
    passage = "Month: February\nCrane: 150: by hand\nBar: 280\n2026: *\n\nBerth: 1\nBoat: Alma 🚢"
    with opened(browser, SHEET, marked=passage) as page:
        marked = page.tab.locator(".viewer tr.passage-mark")
        assert [each.split("\t")[0] for each in marked.all_inner_texts()] == ["February", "1"]
        assert page.tab.locator(".viewer .blocks").count() == 0
