"""The page's view of quality in a real browser, over a scripted runtime: golden questions, runs, feedback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from playwright.sync_api import expect
from support.browser import Browser, Watched, open_browser
from support.scripted import running, scripted_app

from server.services import quality

HOSTILE = "<img src=x onerror=wasRun()>[x](javascript:wasRun())\u202egnp"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, once for all tests of the module."""
    with open_browser() as opened:
        yield opened


def field(page: Watched) -> Any:
    """The field in which documents are searched for."""
    return page.tab.get_by_role("combobox", name="Right documents")


def options(page: Watched) -> Any:
    return page.tab.get_by_role("option").filter(visible=True)


def chosen(page: Watched) -> list[str]:
    return page.tab.locator(".chosen li").evaluate_all("(all) => all.map((each) => each.innerText.trim())")


def write(page: Watched, question: str, document: str = "Page 1") -> None:
    page.tab.get_by_role("button", name="Add a golden question").click()
    page.tab.get_by_label("Question", exact=True).fill(question)
    field(page).fill(document)
    options(page).filter(has_text=document).click()
    page.tab.get_by_role("button", name="Save").click()
    page.tab.locator(".entries strong", has_text=question[:20]).wait_for()


def run(page: Watched, name: str) -> Any:
    page.tab.get_by_label("Name").fill(name)
    page.tab.get_by_role("button", name="Run an evaluation").click()
    row = page.tab.locator(".runs li", has_text=name)
    row.get_by_role("button", name="Report").wait_for()
    return row


def test_golden_questions_are_written_changed_and_deleted(browser: Browser) -> None:
    made = scripted_app()
    with running(made.app) as server, browser.page(server.url, path="/#/quality") as page:
        page.tab.get_by_text("No golden questions yet.").wait_for()
        write(page, "Which port?")
        page.tab.get_by_role("button", name="Change: Which port?").click()
        page.tab.get_by_label("The documents do not answer it").check()
        page.tab.get_by_role("button", name="Save").click()
        page.tab.get_by_text("no answer in the documents").wait_for()
        ((info, _),) = made.runtime.golden.store.kept.values()
        assert info.members == {"question": "Which port?", "unanswerable": True}
        page.tab.get_by_role("button", name="Delete Which port?").click()
        with page.tab.expect_response(lambda response: response.request.method == "DELETE"):
            pass
        page.tab.get_by_text("No golden questions yet.").wait_for()


def test_right_documents_are_searched_for_and_chosen_by_keyboard(browser: Browser) -> None:
    made = scripted_app()
    with running(made.app) as server, browser.page(server.url, path="/#/quality") as page:
        press = page.tab.keyboard.press
        page.tab.get_by_role("button", name="Add a golden question").click()
        page.tab.get_by_label("Question", exact=True).fill("Which port?")
        field(page).focus()
        page.tab.keyboard.type("page")
        options(page).nth(2).wait_for()
        assert field(page).get_attribute("aria-expanded") == "true"

        def active() -> str:
            current = page.tab.locator(f"#{field(page).get_attribute('aria-activedescendant')}")
            assert current.get_attribute("aria-selected") == "true"
            return str(current.locator("span").inner_text())

        assert active() == "Page 1"
        press("ArrowDown")
        assert active() == "Page 2"
        press("ArrowUp")
        press("ArrowUp")
        assert active() == "Page 3"
        press("Enter")  # picks, and does not send the form
        assert (chosen(page), field(page).input_value()) == (["Page 3"], "")
        assert page.tab.evaluate("document.activeElement.id") == "picker"

        page.tab.keyboard.type("docs/1")
        expect(options(page)).to_have_count(1)
        press("Escape")  # shuts the list, then empties the field
        assert (options(page).count(), field(page).input_value()) == (0, "docs/1")
        assert field(page).get_attribute("aria-activedescendant") is None
        press("Escape")
        assert field(page).input_value() == ""
        press("ArrowDown")  # opens it without a word
        options(page).nth(2).wait_for()
        press("Enter")
        assert chosen(page) == ["Page 3", "Page 1"]
        press("Shift+Tab")
        assert page.tab.evaluate("document.activeElement.ariaLabel") == "Remove Page 1"
        press("Enter")
        assert chosen(page) == ["Page 3"]
        assert page.tab.evaluate("document.activeElement.id") == "picker"
        page.tab.get_by_role("button", name="Save").click()
        assert "Page 3" in page.tab.locator(".entries .quiet").inner_text()
        ((info, _),) = made.runtime.golden.store.kept.values()
        assert info.members["documents"] == ["docs/3.md"]


def test_a_document_that_is_not_there_is_refused_and_shown_where_a_file_named_it(browser: Browser) -> None:
    made = scripted_app()
    with running(made.app) as server, browser.page(server.url, path="/#/quality", refusals=(422,)) as page:
        page.tab.get_by_role("button", name="Add a golden question").click()
        page.tab.get_by_label("Question", exact=True).fill("Which port?")
        field(page).fill("nothing.md")
        page.tab.get_by_text("No document has “nothing.md” in its title or source.").wait_for()
        field(page).press("Enter")  # as it is: it may be an id
        assert chosen(page) == ["nothing.md"]
        page.tab.get_by_role("button", name="Save").click()
        page.tab.get_by_role("alert").get_by_text("no such document: 'nothing.md'").wait_for()
        assert field(page).get_attribute("aria-invalid") == "true"
        assert made.runtime.golden.store.kept == {}
        page.tab.get_by_role("button", name="Cancel").click()
        file: Any = {"name": "g.jsonl", "mimeType": "text/plain"}
        lines = b'{"question": "A?", "documents": ["doc-1", "nothing.md"]}'
        page.tab.set_input_files("input[type=file]", [file | {"buffer": lines}])
        told = "1 of 1 are new. 1 document that they name is not there: nothing.md"
        page.tab.get_by_text(told).first.wait_for()
        page.tab.get_by_text("Page 1, nothing.md (not there)").wait_for()
        page.tab.get_by_role("button", name="Change: A?").click()
        assert page.tab.locator(".chosen .is-gone").inner_text().split() == ["nothing.md", "not", "there"]


def test_a_file_is_brought_and_taken_along(browser: Browser) -> None:
    made = scripted_app()
    with running(made.app) as server, browser.page(server.url, path="/#/quality", refusals=(422,)) as page:
        page.tab.get_by_text("No golden questions yet.").wait_for()
        file: Any = {"name": "g.jsonl", "mimeType": "text/plain", "buffer": b'{"question": "A?"}\n{"question": "B?"}\n'}
        page.tab.set_input_files("input[type=file]", [file])
        page.tab.get_by_text("2 of 2 are new.").first.wait_for()
        with page.tab.expect_download() as downloaded:
            page.tab.get_by_role("button", name="Export").click()
        assert downloaded.value.path().read_text() == '{"question": "A?"}\n{"question": "B?"}\n'
        page.tab.set_input_files("input[type=file]", [{**file, "buffer": b'{"answer": 1}'}])
        page.tab.get_by_text("line 1").first.wait_for()


def test_two_runs_are_compared_question_by_question_and_a_report_opens(browser: Browser) -> None:
    made = scripted_app()
    with running(made.app) as server, browser.page(server.url, path="/#/quality") as page:
        write(page, "Which port?")
        write(page, "Which host?")
        page.tab.get_by_role("button", name="Runs").click()
        first, second = run(page, "before it"), run(page, "after it")
        first.get_by_label("Compare").check()
        second.get_by_label("Compare").check()
        table = page.tab.locator(".compared")
        table.wait_for()
        assert "0 better, 1 worse, 1 the same" in page.tab.inner_text(".panel:has(.compared)")
        assert table.locator("tbody tr").count() == 1
        page.tab.get_by_label("Show questions that did not change").check()
        assert table.locator("tbody tr").count() == 2
        assert "compare=" in page.tab.url
        with page.tab.context.expect_page() as opened:
            first.get_by_role("button", name="Report").click()
        report = opened.value
        report.get_by_text("Figures.").wait_for()
        assert report.evaluate("getComputedStyle(document.querySelector('p')).color") == "rgb(0, 128, 0)"
        second.get_by_role("button", name="Delete after it").click()
        page.tab.get_by_role("dialog").get_by_role("button", name="Delete").click()
        second.wait_for(state="detached")
        assert table.count() == 0


def test_a_question_that_one_run_did_not_judge_is_neither_gain_nor_loss(browser: Browser) -> None:
    made = scripted_app()
    with running(made.app) as server, browser.page(server.url, path="/#/quality") as page:
        write(page, "Which port?")
        page.tab.get_by_role("button", name="Add a golden question").click()
        page.tab.get_by_label("Question", exact=True).fill("Which planet?")
        page.tab.get_by_label("The documents do not answer it").check()
        page.tab.get_by_role("button", name="Save").click()
        page.tab.locator(".entries strong", has_text="Which planet?").wait_for()
        page.tab.get_by_role("button", name="Runs").click()
        for row in (run(page, "before it"), run(page, "after it")):
            row.get_by_label("Compare").check()
        page.tab.get_by_label("Show questions that did not change").check()
        row = page.tab.locator(".compared tbody tr", has_text="Which planet?")
        assert row.locator("td").all_inner_texts() == ["–", "1", "–"]
        assert row.locator(".gain, .loss").count() == 0
        assert "0 better, 1 worse, 0 the same" in page.tab.inner_text(".panel:has(.compared)")


def test_without_the_extra_the_page_says_how_to_install_it(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(extra: str, *, purpose: str) -> None:
        msg = f"{purpose} needs Footnote's extra `{extra}`; `make install` installs it"
        raise quality.ExtraMissing(msg)

    monkeypatch.setattr(quality, "require_extra", missing)
    with running(scripted_app().app) as server, browser.page(server.url, path="/#/quality?part=runs") as page:
        page.tab.get_by_text("`make install` installs it").wait_for()
        assert page.tab.get_by_role("button", name="Run an evaluation").count() == 0


def test_a_thumb_becomes_a_golden_question(browser: Browser) -> None:
    made = scripted_app()
    with running(made.app) as server, browser.page(server.url) as page:
        for rating, trace in (("up", "a" * 32), ("down", "b" * 32)):
            told = {"trace_id": trace, "rating": rating, "question": f"Which {rating} port?", "collection": "default"}
            told |= {"answer": "8000 [1].", "document_ids": ["doc-1"]}
            page.tab.request.post(f"{server.url}/feedback", data=told)
        page.tab.goto(f"{server.url}/#/quality?part=feedback")
        page.tab.get_by_role("button", name="Make it a golden question: Which up port?").click()
        page.tab.locator(".chosen", has_text="Page 1").wait_for()
        assert page.tab.locator(".chosen li").get_attribute("title") == "doc-1"
        page.tab.get_by_role("button", name="Save").click()
        page.tab.locator(".panel").wait_for(state="detached")
        page.tab.get_by_role("button", name="Make it a golden question: Which down port?").click()
        field(page).wait_for()
        assert chosen(page) == []  # what was bad says nothing of what is right
        ((info, _),) = made.runtime.golden.store.kept.values()
        assert info.members == {
            "question": "Which up port?",
            "documents": ["doc-1"],
            "answer": "8000 [1].",
            "kind": "feedback",
        }


def test_nothing_of_a_golden_question_runs(browser: Browser) -> None:
    made = scripted_app()
    made.runtime.evaluations.store.report_text = "<p>in</p><script>document.body.textContent = 'ran'</script>"
    with running(made.app) as server, browser.page(server.url, path="/#/quality") as page:
        made.runtime.golden.store.titles["docs/1.md"] = HOSTILE
        write(page, HOSTILE)
        assert HOSTILE in page.tab.locator(".entries .quiet").text_content()
        page.tab.get_by_role("button", name="Change:").click()
        assert HOSTILE in page.tab.locator(".chosen").text_content()
        page.tab.get_by_role("button", name="Cancel").click()
        page.tab.get_by_role("button", name="Runs").click()
        row = run(page, HOSTILE)
        with page.tab.context.expect_page() as opened:
            row.get_by_role("button", name="Report").click()
        opened.value.get_by_text("in", exact=True).wait_for()
        assert page.tab.locator("main img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_quality(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    with (
        running(scripted_app().app) as server,
        browser.page(server.url, path="/#/quality", scheme=scheme, width=390, height=844) as page,
    ):
        write(page, "Which port?")
        page.tab.get_by_role("button", name="Change: Which port?").click()
        assert page.seriously_wrong() == []
        page.tab.get_by_role("button", name="Cancel").click()
        page.tab.get_by_role("button", name="Runs").click()
        for name in ("one", "two"):
            run(page, name).get_by_label("Compare").check()
        page.tab.locator(".compared").wait_for()
        assert page.seriously_wrong() == []
        boxes = "[document.documentElement, ...document.querySelectorAll('main')]"
        assert page.tab.evaluate(f"Math.max(...{boxes}.map((each) => each.scrollWidth - each.clientWidth))") <= 0
        page.tab.get_by_role("button", name="Feedback").click()
        page.tab.get_by_text("No feedback yet.").wait_for()
        assert page.seriously_wrong() == []
