"""The whole way in a real browser over a real server: bring documents, ask, and check the footnotes in them."""

from __future__ import annotations

import io
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.browser import Browser, Watched, open_browser
from support.model_server import Reply
from support.pdfs import drawn, lines
from support.stack import Process, Stack

CLAIMS = "Claims for damage to moorings are sent to the harbour office within thirty days."
KEEPER = "The keeper of the northern light was Edvin Sørlie, who kept the log until 1902."
CRADLE = "A cradle that is rented 🚤 costs 140 crowns for the winter."
FILES = {
    "regulations.pdf": drawn(
        lambda canvas: lines(canvas, ["Norholm Harbour", "", "These regulations bind the master of every vessel."]),
        lambda canvas: lines(
            canvas, ["Storms", "", "Two red lamps: double the lines.", CLAIMS, "Later ones are late."]
        ),
        Title="Harbour Regulations",
    ),
    "light.html": f"<html><title>The northern light</title><nav>Home</nav><main><h1>The northern light</h1>"
    f"<p>{KEEPER}</p></main></html>".encode(),
    "storage.md": f"# Winter storage 🚢\n\n{'The crane lifts boats. ' * 8}\n\n## Cradles\n\n{CRADLE}\n".encode(),
    "broken.pdf": b"%PDF-1.7\nno pages at all\n" * 20,
    "minutes.txt": b"Minutes of the harbour meeting. The crane will be overhauled in March.",
}
READ_WITHIN = 240_000
"""Milliseconds in which the worker starts and reads the files, on a busy machine."""
YELLOW = 60
"""By how much red is above blue where a page is marked."""


@pytest.fixture(scope="module")
def server(stack: Stack) -> Iterator[Process]:
    """Start a real server, with its worker and the real embedding model."""
    with stack.process(program=("-m", "server"), forked=False, SERVER__WORKERS="1", JOBS__WORKER="always") as process:
        yield process


@pytest.fixture(scope="module")
def browser(server: Process) -> Iterator[Browser]:  # noqa: ARG001 (Playwright's loop must begin after the database's)
    """Start Chromium."""
    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def brought(server: Process, browser: Browser) -> None:
    """Bring the files, all at once, by the page."""
    with browser.page(server.url, path="/#/documents") as page:
        files: list[Any] = [
            {"name": name, "mimeType": "application/octet-stream", "buffer": content} for name, content in FILES.items()
        ]
        page.tab.set_input_files("input[type=file]", files)
        page.tab.locator(".uploads .is-succeeded").nth(3).wait_for(timeout=READ_WITHIN)
        failed = page.tab.locator(".uploads .is-failed")
        failed.wait_for()
        assert "broken.pdf" in failed.inner_text()
        assert "a damaged PDF" in failed.inner_text()
        for title in ("Harbour Regulations", "The northern light", "Winter storage 🚢"):
            page.tab.get_by_role("button", name=f"Open {title}").wait_for()


def asked(stack: Stack, page: Watched, question: str, answer: str) -> None:
    stack.fresh(default=Reply(text=answer))
    page.ask(question)
    page.tab.locator(".footnote").first.click()


PICTURE = """(image) => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    canvas.getContext("2d").drawImage(image, 0, 0);
    return canvas.toDataURL().split(",")[1];
}"""


def marked_rows(page: Watched) -> list[int]:
    """Return the rows of the page's picture in which something is marked."""
    picture = b64decode(page.tab.locator(".picture img").evaluate(PICTURE))
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    pixels, (width, height) = image.load(), image.size
    assert pixels is not None
    return [row for row in range(height) if any(_is_yellow(pixels[column, row]) for column in range(0, width, 4))]


def _is_yellow(pixel: Any) -> bool:
    red, green, blue = pixel
    return bool(red - blue > YELLOW and green - blue > YELLOW / 2)


@pytest.mark.usefixtures("brought")
def test_a_footnote_opens_the_pdfs_page_with_the_sentence_marked(
    server: Process, stack: Stack, browser: Browser
) -> None:
    with browser.page(server.url) as page:
        asked(stack, page, "Until when are claims for damage to moorings sent?", f"“{CLAIMS}” [1]")
        page.tab.locator(".picture img").wait_for()
        fetched = "performance.getEntriesByType('resource').filter((each) => each.name.includes('.png')).length"
        assert page.tab.evaluate(fetched) == 1
        assert page.tab.locator(".viewer h2").inner_text() == "Harbour Regulations"
        assert page.tab.locator(".pager").inner_text().strip() == "2 of 2"
        assert page.tab.locator(".picture img").get_attribute("src").startswith("blob:")
        rows = marked_rows(page)
        assert rows
        assert rows[-1] - rows[0] < 40  # one line, of a page that is some 1400 high
        link = page.tab.url
        page.tab.get_by_role("button", name="Previous page").click()
        page.tab.get_by_text("1 of 2").wait_for()
        page.tab.keyboard.press("Escape")
        page.tab.locator(".viewer").wait_for(state="detached")
        assert page.tab.evaluate("document.activeElement.className") == "footnote"
    with browser.page(server.url, path=link.removeprefix(server.url)) as page:  # whoever gets the link sees the same
        page.tab.locator(".picture img").wait_for()
        page.tab.get_by_text("2 of 2").wait_for()


@pytest.mark.usefixtures("brought")
@pytest.mark.parametrize(
    "told",
    [
        ("Who was the keeper of the northern light?", KEEPER, "The northern light"),
        ("What does a rented cradle cost for the winter?", CRADLE, "Winter storage 🚢"),
    ],
    ids=["web page", "Markdown"],
)
def test_a_footnote_opens_the_text_at_its_place(
    told: tuple[str, str, str], server: Process, stack: Stack, browser: Browser
) -> None:
    question, sentence, title = told
    with browser.page(server.url) as page:
        asked(stack, page, question, f"“{sentence}” [1]")
        quote = page.tab.locator(".viewer mark.quote")
        quote.wait_for()
        assert quote.inner_text() == sentence
        assert sentence in "".join(page.tab.locator(".viewer .passage-mark").all_inner_texts())
        assert page.tab.locator(".viewer h2").inner_text() == title


@pytest.mark.usefixtures("brought")
def test_an_answer_goes_on_after_a_reload(server: Process, stack: Stack, browser: Browser) -> None:
    gate = threading.Event()
    stack.fresh(Reply(text="The crane will be overhauled in March [1].", gate=gate))
    with browser.page(server.url) as page:
        page.tab.fill(".composer textarea", "When will the crane be overhauled?")
        page.tab.keyboard.press("Enter")
        page.tab.locator(".sources").wait_for()
        page.tab.reload()
        page.tab.locator("article[aria-busy=true]").wait_for()
        gate.set()
        page.tab.locator("article[aria-busy=false] .footnote").wait_for()
        assert "overhauled in March" in page.tab.inner_text(".prose")
        assert page.tab.locator("article").count() == 1
        assert len(stack.model.requests) == 1


@pytest.mark.usefixtures("brought")
def test_what_is_stopped_stays_after_a_reload_and_can_be_asked_about(
    server: Process, stack: Stack, browser: Browser
) -> None:
    stack.fresh(Reply(text="The crane will be overhauled [1] in March of next year.", delay=0.5))
    stack.model.default = Reply(text="In the yard [1].")
    with browser.page(server.url) as page:
        page.tab.fill(".composer textarea", "When will the crane be overhauled?")
        page.tab.keyboard.press("Enter")
        page.tab.locator(".prose .footnote").wait_for()
        page.tab.get_by_role("button", name="Stop").click()
        page.tab.get_by_text("Stopped.").wait_for()
        assert stack.model.wait_for_disconnects(1, timeout=5)  # long before the grace time of who left is over
        page.tab.reload()
        page.tab.get_by_text("Stopped.").wait_for()
        assert "The crane will be overhauled" in page.tab.inner_text(".prose")
        assert "next year" not in page.tab.inner_text(".prose")
        assert page.tab.locator(".source").count() > 0
        page.tab.locator(".prose .footnote").click()
        page.tab.locator(".viewer .text").wait_for()
        page.ask("Where is that?")
        assert "In the yard" in page.tab.locator(".prose").last.inner_text()
        assert page.tab.locator("article").count() == 2


@pytest.mark.usefixtures("brought")
def test_who_looks_at_another_conversation_meanwhile_finds_the_answer_whole(
    server: Process, stack: Stack, browser: Browser
) -> None:
    gate = threading.Event()
    stack.fresh(Reply(text="The crane will be overhauled in March [1].", gate=gate))
    with browser.page(server.url) as page:
        page.tab.fill(".composer textarea", "When will the crane be overhauled, then?")
        page.tab.keyboard.press("Enter")
        page.tab.locator(".sources").wait_for()
        page.tab.get_by_role("button", name="New question").click()
        page.tab.get_by_role("heading", name="Ask your documents").wait_for()
        page.tab.get_by_role("link", name="When will the crane be overhauled, then?").click()
        page.tab.locator("article[aria-busy=true]").wait_for()
        gate.set()
        page.tab.locator("article[aria-busy=false] .footnote").wait_for()
        assert "overhauled in March" in page.tab.inner_text(".prose")
        assert len(stack.model.requests) == 1


@pytest.mark.usefixtures("brought")
def test_conversations_are_listed_renamed_and_rated(server: Process, stack: Stack, browser: Browser) -> None:
    stack.fresh(default=Reply(text="In March [1]."))
    with browser.page(server.url) as page:
        page.ask("When is the crane overhauled, I wonder?")
        with page.tab.expect_response(lambda response: "/feedback" in response.url) as rated:
            page.tab.get_by_role("button", name="Good answer").click()
        assert rated.value.ok
        page.tab.get_by_role("button", name="Rename: When is the crane").click()
        page.tab.get_by_label("New title").fill("The crane")
        page.tab.keyboard.press("Enter")
        page.tab.get_by_role("button", name="New question").click()
        page.tab.get_by_role("heading", name="Ask your documents").wait_for()
        page.tab.locator(".conversations a[title^='The crane']").click()
        page.tab.locator(".footnote").first.wait_for()
        assert "In March" in page.tab.inner_text(".prose")


def test_a_collection_is_made_filled_from_a_folder_and_deleted(
    server: Process, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "rules" / "deep").mkdir(parents=True)
    (tmp_path / "rules" / "masters.md").write_text("# Masters\n\nThe master stays aboard in a storm.\n")
    (tmp_path / "rules" / "deep" / "lamps.md").write_text("# Lamps\n\nTwo red lamps: double the lines.\n")
    with browser.page(server.url, path="/#/collections", refusals=(404,)) as page:
        page.tab.get_by_role("button", name="New collection").click()
        page.tab.locator("dialog [name=name]").fill("rules")
        page.tab.get_by_label("Language").select_option("simple")
        page.tab.get_by_role("dialog").get_by_role("button", name="Create").click()
        page.tab.get_by_role("heading", name="Generation 1").wait_for()
        page.tab.get_by_role("link", name="Documents").last.click()
        page.tab.locator("input.folder").set_input_files(tmp_path / "rules")
        page.tab.locator(".uploads .is-succeeded").nth(1).wait_for(timeout=READ_WITHIN)
        page.tab.get_by_text("rules/deep/lamps.md").last.wait_for()
        page.tab.goto(f"{server.url}/#/collections/rules")
        page.tab.get_by_text("2 · 2 chunks").wait_for()
        page.tab.get_by_role("button", name="Delete").click()
        page.tab.get_by_label("Type “rules” to confirm").fill("rules")
        page.tab.keyboard.press("Enter")
        page.tab.get_by_role("link", name="rules").wait_for(state="detached")


def test_the_real_server_is_operated_from_the_page(server: Process, browser: Browser) -> None:
    with browser.page(server.url, path="/#/operate") as page:
        page.tab.get_by_text("The server is ready.").wait_for()
        names = page.tab.locator(".dependency h3").all_inner_texts()
        assert {"Database", "Embedding model", "Language model", "Disk"} <= set(names)
        page.tab.get_by_role("link", name="Tenants").click()
        page.tab.get_by_label("Name of a new tenant").fill("acme")
        page.tab.keyboard.press("Enter")
        row = page.tab.get_by_role("row", name="acme")
        row.get_by_role("button", name="Delete").click()
        page.tab.get_by_label("Type “acme” to confirm").fill("acme")
        page.tab.keyboard.press("Enter")
        row.wait_for(state="detached")


@pytest.mark.usefixtures("brought")
def test_a_document_is_replaced_by_another_file(server: Process, stack: Stack, browser: Browser) -> None:
    with browser.page(server.url, path="/#/documents") as page:
        page.tab.get_by_role("button", name=re.compile("^open minutes", re.IGNORECASE)).click()
        viewer = page.tab.locator(".viewer")
        viewer.get_by_role("button", name="Details").click()
        file: Any = {"name": "later.txt", "mimeType": "text/plain", "buffer": b"The crane was sold to Sundby in May."}
        viewer.locator("input[type=file]").set_input_files(file)
        viewer.locator(".is-succeeded").wait_for(timeout=READ_WITHIN)
    with browser.page(server.url) as page:
        asked(stack, page, "To whom was the crane sold?", "“The crane was sold to Sundby in May.” [1]")
        page.tab.locator(".viewer mark").get_by_text("The crane was sold to Sundby in May.").wait_for()
