"""The page stays smooth: while an answer is written, and with long lists; ``benchmarks page`` measures how smooth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support import scripted as scripts
from support.browser import Browser, Watched, open_browser
from support.scripted import ANSWERED, DONE, SOURCES, running, scripted_app

from server.answers import Token
from storage.chat.conversations import StoredMessage
from storage.cursors import Page

LONGEST_TASK = 200
"""Milliseconds of work; by the clock a busy machine stretches them."""
SECTION = (
    "\n\n## The port\n\nIt is **8000** [1] unless `FOOTNOTE_SERVER__PORT` says otherwise, see [there](https://example.org).\n\n"
    "- one point [1]\n- another point, which takes longer to say [1]\n\n| a | b |\n|---|---|\n| 1 [1] | 2 |\n\n"
    "```python\nport = int(os.environ.get('PORT', 8000))  # the default\n```\n"
)
DOCUMENTS = 450
TURNS = 60


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, once for all tests of the module."""
    with open_browser() as opened:
        yield opened


def pieces(text: str) -> list[object]:
    """Return a script that gives 200 tokens a second."""
    return [step for at in range(0, len(text), 4) for step in (Token(text[at : at + 4]), 0.005)]


@pytest.mark.parametrize("text", [SECTION * 8, "- **A point** with `code` [1]\n" * 90], ids=["sections", "one list"])
def test_no_task_takes_long_while_an_answer_is_streamed(browser: Browser, text: str) -> None:
    with running(scripted_app([SOURCES, *pieces(text), DONE]).app) as server, browser.page(server.url) as page:
        page.tab.locator(".composer textarea").wait_for()
        with page.worked() as tasks:
            page.ask("Which port?")
        assert page.tab.locator(".prose .footnote").count() > 20
        assert len(tasks) > 100
        assert max(tasks) < LONGEST_TASK


def rows(page: Watched) -> list[str]:
    names: list[str] = page.tab.locator(".list tbody .link").all_inner_texts()
    return names


def test_of_a_long_list_of_documents_only_what_is_near_is_shown(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [replace(scripts.KNOWN[0], id=f"doc-{n:04}", title=f"Page {n}") for n in range(DOCUMENTS)]
    monkeypatch.setattr(scripts, "KNOWN", known)
    with running(scripted_app(()).app) as server, browser.page(server.url, path="/#/documents") as page:
        page.tab.get_by_role("button", name="Open Page 0", exact=True).wait_for()
        page.tab.locator("main").hover()
        seen: dict[str, None] = {}
        most = 0
        for _ in range(200):
            shown = rows(page)
            seen.update(dict.fromkeys(shown))
            most = max(most, len(shown))
            if known[-1].title in shown:
                break
            page.tab.mouse.wheel(0, 600)
            page.tab.wait_for_timeout(50)
        assert list(seen) == [each.title for each in known]
        assert most <= 200
        page.tab.locator("main").evaluate("(main) => main.scrollTo(0, main.scrollHeight)")
        page.tab.get_by_role("button", name=f"Delete {known[-1].title}").focus()
        page.tab.locator("main").evaluate("(main) => main.scrollTo(0, 0)")
        page.tab.get_by_role("button", name="Open Page 0", exact=True).wait_for()
        assert page.tab.evaluate("document.activeElement.ariaLabel") == f"Delete {known[-1].title}"
        assert page.seriously_wrong() == []


def test_a_long_conversation_is_shown_from_its_end_and_whole_soon(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(role: Any, text: str, number: int) -> StoredMessage:
        return replace(ANSWERED, id=f"{role}-{number}", role=role, content=text)

    messages = [
        said(role, text, n)
        for n in range(TURNS)
        for role, text in (("user", f"Question {n}?"), ("assistant", f"Answer {n}.{SECTION}"))
    ]

    async def listed(*_: object, **__: object) -> Page[StoredMessage]:
        return Page(tuple(messages), None)

    monkeypatch.setattr(scripts.ScriptedConversations, "messages", listed)
    with running(scripted_app(()).app) as server:
        path = f"/#/c/{scripts.CONVERSATION.id}"
        with browser.page(server.url) as page:
            turns = page.tab.locator("article.turn")
            page.tab.locator(".composer textarea").wait_for()
            with page.worked() as tasks:
                page.tab.goto(server.url + path)
                turns.nth(TURNS - 1).wait_for()
            assert max(tasks) < LONGEST_TASK
            questions = page.tab.locator(".question").all_text_contents()  # inner text is only what is rendered
            assert [each.partition(": ")[2] for each in questions] == [f"Question {n}?" for n in range(TURNS)]
            last = turns.nth(TURNS - 1).bounding_box()
            assert last["y"] + last["height"] <= 800  # whoever opens it sees its end
            page.tab.goto(f"{server.url}/#/")
            turns.first.wait_for(state="detached")
            page.tab.goto(server.url + path)
            turns.nth(TURNS - 1).wait_for()
            page.tab.wait_for_timeout(200)
            assert turns.count() == TURNS
