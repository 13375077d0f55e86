"""Documents' details, collections and operating, in a real browser over a scripted runtime."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import SecretStr
from support import scripted as scripts
from support import scripted_documents
from support.browser import Browser, Watched, open_browser
from support.scripted import (
    Scripted,
    ScriptedCollectionCatalog,
    ScriptedDocumentTexts,
    ScriptedState,
    running,
    scripted_app,
)
from support.scripted_documents import DEAD_JOB, DONE_JOB, NOW, ScriptedCollections

from config.settings import AuthSettings
from server.limits.overview import BudgetState, LimitsOverview
from server.process.connections import Connections
from server.process.probes import DependencyState
from server.services.jobs import JobWatchers
from storage.collections.collections import CollectionInfo
from storage.collections.generations import GenerationInfo
from storage.cursors import Page
from storage.documents.text import ChunkInfo, DocumentText
from storage.jobs.jobs import JobError

BOOTSTRAP = "b" * 40
REQUIRED = AuthSettings(mode="required", bootstrap_key=SecretStr(BOOTSTRAP), failed_logins=100_000)
HOSTILE = '\u202egnp.exe\u202c <img src=x onerror=wasRun()> "><script>wasRun()</script> javascript:wasRun()'
TEXT = "The harbour is deep 🚢. The light is lit at dusk. The crane lifts boats."
GATE = {
    "questions": 15, "k": 10, "old": {"recall": 1.0, "mrr": 0.933}, "new": {"recall": 0.8, "mrr": 0.5},
    "passed": False, "reason": "recall@10 fell by more than 0.02",
}  # fmt: skip
PHONE: dict[str, Any] = {"width": 390, "height": 844, "has_touch": True, "is_mobile": True}


class CutTexts(ScriptedDocumentTexts):
    """One text, cut into three chunks that overlap, on two pages."""

    async def whole(self, document_id: str, /, *, collection: str, revision: int | None = None) -> DocumentText:
        found = await super().whole(document_id, collection=collection, revision=revision)
        return replace(found, text=TEXT)

    async def chunks(
        self, document_id: str, /, *, collection: str, limit: int, cursor: str | None = None
    ) -> Page[ChunkInfo]:
        await super().chunks(document_id, collection=collection, limit=limit, cursor=cursor)
        places = [(0, 23), (20, 50), (50, len(TEXT))]
        cut = [
            ChunkInfo(f"n-{at}", at, start, end, "Harbour > Light", TEXT[start:end])
            for at, (start, end) in enumerate(places)
        ]
        return Page(tuple(cut[2:]), None) if cursor else Page(tuple(cut[:2]), "Mg")


class Generations(ScriptedCollections):
    """Four generations: one is being built, one is ready and failed its gate, one answers, one answered before."""

    async def generations(self, name: str, /, *, limit: int, cursor: str | None) -> Page[GenerationInfo]:
        (known, _) = (await super().generations(name, limit=limit, cursor=cursor)).items
        made = replace(known, activated_at=None, state="building", name="4", documents=1)
        judged = {"documents": {"failed": 2}, "build": {"kept_because": GATE["reason"], "gate": GATE}}
        ready = replace(known, activated_at=None, state="ready", name="3", report=judged, embedding_model=HOSTILE)
        return Page((made, ready, known, replace(known, state="retired", name="1", retired_at=NOW)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, once for all tests of the module."""
    with open_browser() as opened:
        yield opened


def app_of(**options: Any) -> Scripted:
    made = scripted_app(**options)
    made.runtime.document_texts = CutTexts()
    made.runtime.collections = Generations()
    return made


def opened(page: Watched, way: str, title: str = "Page 1") -> Any:
    """Open a document from the list, and what of it is to be shown."""
    page.tab.get_by_role("button", name=f"Open {title}").click()
    viewer = page.tab.locator(".viewer")
    viewer.get_by_role("button", name=way, exact=True).click()
    return viewer


def signed_in(page: Watched, key: str) -> None:
    page.tab.get_by_label("API key").fill(key)
    page.tab.get_by_role("button", name="Sign in").click()
    page.tab.locator(".tabs").wait_for()


def sticks_out(page: Watched) -> int:
    boxes = "[document.documentElement, ...document.querySelectorAll('main, .viewer, dialog')]"
    return int(page.tab.evaluate(f"Math.max(...{boxes}.map((each) => each.scrollWidth - each.clientWidth))"))


def test_chunks_show_where_the_text_was_cut_and_what_they_repeat(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, path="/#/documents") as page:
        viewer = opened(page, "Chunks")
        viewer.get_by_role("heading", name="Chunk 2").wait_for()
        assert viewer.locator(".chunks li").count() == 2
        assert viewer.locator(".chunks li .text").nth(0).inner_text() == TEXT[:23]
        # code points, not UTF-16 units: the ship is two of these
        shared = viewer.locator(".shared").evaluate("(part) => part.lastChild.textContent")
        assert shared == TEXT[20:23]
        viewer.get_by_role("button", name="Show more").click()
        viewer.get_by_role("heading", name="Chunk 3").wait_for()
        assert viewer.locator(".shared").count() == 1
        viewer.get_by_role("button", name="Show in the text: Chunk 2").click()
        assert viewer.locator("mark.passage-mark").inner_text() == TEXT[20:50]
        assert "start=20&end=50" in page.tab.url


def test_details_tell_readers_metadata_and_the_answers_that_cited_it(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, path="/#/documents") as page:
        viewer = opened(page, "Details")
        assert "docs/1.md" in viewer.locator(".facts").first.inner_text()
        assert viewer.locator("section .facts").inner_text().split() == ["n", "1"]
        viewer.get_by_text("chunks 1", exact=True).wait_for()
        assert "ada" in viewer.locator(".answers").inner_text()
        viewer.get_by_role("button", name="Change").click()
        viewer.get_by_label("A line each").fill("user:ada\ngroup:eng")
        with page.tab.expect_request(lambda request: request.method == "PUT") as sent:
            viewer.get_by_role("button", name="Save").click()
        assert sent.value.post_data_json == {"readers": ["user:ada", "group:eng"]}
        viewer.get_by_text("person: ada").wait_for()
        assert viewer.get_by_text("group: eng").count() == 1
        assert page.tab.evaluate("document.activeElement.textContent") == "Change"


def test_a_document_is_replaced_and_keeps_what_it_is_called(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url, path="/#/documents") as page:
        viewer = opened(page, "Details", "Page 2")
        file: Any = {"name": "new.md", "mimeType": "text/markdown", "buffer": b"# Page"}
        viewer.locator("input[type=file]").set_input_files(file)
        viewer.locator(".is-succeeded").wait_for()
        (new,) = made.runtime.documents.brought
        assert (new.document_id, new.must_exist, new.metadata) == ("doc-2", True, {"n": 2})
        assert (new.title, new.readers) == (None, None)


def folder(at: Path) -> Path:
    (at / "handbook" / "hr" / "deep").mkdir(parents=True)
    for name in ("handbook/a.md", "handbook/hr/leave.md", "handbook/hr/deep/üb.md", "handbook/.DS_Store"):
        (at / name).write_text("# It says so\n")
    (at / "handbook" / ".git").mkdir()
    (at / "handbook" / ".git" / "config").write_text("no document")
    for number in range(130):  # a browser tells of a hundred at a time
        (at / "handbook" / f"page-{number:03}.txt").write_text(f"page {number}")
    return at / "handbook"


@pytest.mark.parametrize("view", ["/", "/documents", "/operate"])
def test_a_file_that_is_dropped_beside_the_frame_leaves_the_page_open_and_is_brought_where_documents_are(
    browser: Browser, view: str
) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url, path=f"/#{view}") as page:
        page.tab.locator("#content").wait_for()
        taken = page.tab.evaluate(
            """() => {
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File(["# It says so"], "beside.md"));
                const of = (name) => new DragEvent(name, { dataTransfer, bubbles: true, cancelable: true });
                return ["dragover", "drop"].map((name) => !document.body.dispatchEvent(of(name)));
            }"""
        )
        assert taken == [True, True]
        if view == "/documents":
            page.tab.locator(".uploads .is-succeeded", has_text="beside.md").wait_for()


@pytest.mark.parametrize("way", ["dropped", "chosen"])
def test_folders_are_brought_with_their_paths(browser: Browser, tmp_path: Path, way: str) -> None:
    made = app_of()
    chosen = folder(tmp_path)
    made.runtime.watchers = JobWatchers(most=1)  # fewer than the page follows at once: it waits, and asks again
    with running(made.app) as server, browser.page(server.url, path="/#/documents", refusals=(503,)) as page:
        place = page.tab.locator(".drop")
        place.wait_for()
        if way == "chosen":
            page.tab.locator("input.folder").set_input_files(chosen)
        else:
            box = place.bounding_box()
            session = page.tab.context.new_cdp_session(page.tab)
            drag = {"x": box["x"] + 40, "y": box["y"] + 40, "data": {"items": [], "files": [str(chosen)], "dragOperationsMask": 1}}  # fmt: skip # noqa: E501
            for kind in ("dragEnter", "dragOver", "drop"):
                session.send("Input.dispatchDragEvent", {"type": kind, **drag})
        page.tab.get_by_text("133 of 133 done").wait_for()
        sources = {new.source for new in made.runtime.documents.brought}
        assert {"handbook/a.md", "handbook/hr/leave.md", "handbook/hr/deep/üb.md", "handbook/page-129.txt"} <= sources
        assert len(sources) == 133
        assert not any(".DS_Store" in str(each) or ".git" in str(each) for each in sources)
        assert page.tab.locator(".uploads li").count() == 50
        page.tab.get_by_text("and 83 more").wait_for()


def test_conversations_are_searched_and_sorted(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    made = app_of()
    talks = [replace(scripts.CONVERSATION, id=f"{scripts.CONVERSATION.id[:-1]}{n}", title=f"Talk {n}") for n in (1, 2)]

    async def listed(*, contains: str | None, order: Any, **_: Any) -> Page[Any]:
        found = [each for each in talks if (contains or "").lower() in each.title.lower()]
        return Page(tuple(sorted(found, key=lambda each: each.title, reverse=order.sort.startswith("-"))), None)

    monkeypatch.setattr(made.runtime.conversations, "list", listed)
    with running(made.app) as server, browser.page(server.url) as page:
        links = page.tab.locator(".conversations li a span")
        links.nth(1).wait_for()
        assert links.all_inner_texts() == ["Talk 2", "Talk 1"]
        assert page.tab.locator(".conversations li small").all_inner_texts() == ["2 Jan", "2 Jan"]
        with page.tab.expect_response(lambda response: "sort=title" in response.url):
            page.tab.get_by_label("Order").select_option("title")
        page.tab.wait_for_function("document.querySelector('.conversations li a span').textContent === 'Talk 1'")
        page.tab.get_by_label("Search conversations").fill("2")
        links.nth(1).wait_for(state="detached")
        assert links.all_inner_texts() == ["Talk 2"]
        page.tab.get_by_label("Search conversations").fill("nothing of it")
        page.tab.get_by_text("No conversation has “nothing of it”").wait_for()


def test_a_collection_is_made_with_its_language_and_chunks(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url, path="/#/collections", refusals=(404, 409)) as page:
        page.tab.get_by_role("button", name="New collection").click()
        dialog = page.tab.get_by_role("dialog")
        dialog.locator("[name=name]").fill("default")
        dialog.get_by_role("button", name="Create").click()
        dialog.get_by_text("409 already-exists").wait_for()
        dialog.locator("[name=name]").fill("handbuch")
        dialog.get_by_label("Language").select_option("german")
        dialog.get_by_label("Tokens of a chunk").fill("128")
        dialog.get_by_label("Tokens repeated").fill("16")
        dialog.get_by_role("button", name="Create").click()
        page.tab.get_by_role("heading", name="handbuch").wait_for()
        new = made.runtime.collections.made[-1]
        assert (new.name, new.language, new.chunk_tokens, new.chunk_overlap) == ("handbuch", "german", 128, 16)


def test_generations_are_activated_and_rolled_back_after_what_happens_was_said(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url, path="/#/collections/default") as page:
        page.tab.get_by_role("heading", name="Generation 3").wait_for()
        states = page.tab.locator(".generation header .badge").all_inner_texts()
        assert states == ["being built", "ready", "active", "active before"]
        progress = page.tab.get_by_role("progressbar", name="Progress of the build")
        assert (progress.get_attribute("value"), progress.get_attribute("max")) == ("1", "3")
        gate = page.tab.get_by_role("img", name="recall@10 from 1.000 to 0.800; MRR from 0.933 to 0.500")
        gate.wait_for()
        page.tab.get_by_text("recall@10 fell by more than 0.02").first.wait_for()
        page.tab.get_by_role("button", name="Activate: Generation 3").click()
        dialog = page.tab.get_by_role("dialog", name="Let generation 3 answer?")
        said = dialog.inner_text()
        for part in (
            "3 documents in 30 chunks",
            "changes from all-MiniLM-L6-v2",
            "did not let it pass",
            "Generation 2 stays",
        ):
            assert part in said, part
        page.tab.keyboard.press("Escape")
        dialog.wait_for(state="detached")
        assert page.tab.evaluate("document.activeElement.ariaLabel") == "Activate: Generation 3"
        assert made.runtime.collections.activated == []
        page.tab.get_by_role("button", name="Go back to it: Generation 1").click()
        dialog = page.tab.get_by_role("dialog", name="Go back to generation 1?")
        assert "The embedding model stays: all-MiniLM-L6-v2." in dialog.inner_text()
        dialog.get_by_role("button", name="Go back to it").click()
        dialog.wait_for(state="detached")
        assert made.runtime.collections.activated == ["1"]


def test_a_collection_is_deleted_only_after_its_name_was_typed(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url, path="/#/collections/default") as page:
        page.tab.get_by_role("button", name="Delete").click()
        dialog = page.tab.get_by_role("dialog")
        assert dialog.get_by_role("button", name="Delete").is_disabled()
        dialog.get_by_label("Type “default” to confirm").fill("defaul")
        page.tab.keyboard.press("Enter")
        assert made.runtime.collections.deleted == []
        dialog.get_by_label("Type “default” to confirm").fill("default")
        page.tab.keyboard.press("Enter")
        dialog.wait_for(state="detached")
        assert made.runtime.collections.deleted == ["default"]
        assert page.tab.url.endswith("#/collections")


def test_without_admin_there_is_no_operating_and_without_writing_nothing_is_made(browser: Browser) -> None:
    made = app_of(auth=REQUIRED)
    reader = made.runtime.api_keys.make("query", "documents:read", "keys", "audit")
    with running(made.app) as server, browser.page(server.url, refusals=(401,)) as page:
        signed_in(page, reader)
        assert page.tab.locator(".tabs a").all_inner_texts() == ["Ask", "Documents", "Collections"]
        page.tab.goto(f"{server.url}/#/collections/default")
        page.tab.get_by_role("heading", name="Generation 3").wait_for()
        for name in ("Activate", "Go back to it", "Delete", "New collection"):
            assert page.tab.get_by_role("button", name=name).count() == 0, name
        for path in ("operate", "operate/keys", "operate/audit"):
            page.tab.goto(f"{server.url}/#/{path}")
            page.tab.get_by_text("Your key may not do this.").wait_for()
        page.tab.goto(f"{server.url}/#/documents")
        viewer = opened(page, "Details")
        assert viewer.get_by_role("button", name="Replace").count() == 0
        assert viewer.get_by_role("button", name="Change").count() == 0


def test_an_administrator_of_a_tenant_sees_no_other_tenants(browser: Browser) -> None:
    made = app_of(auth=REQUIRED)
    admin = made.runtime.api_keys.make("admin")
    with running(made.app) as server, browser.page(server.url, refusals=(401,)) as page:
        signed_in(page, admin)
        page.tab.goto(f"{server.url}/#/operate/tenants")
        page.tab.locator(".sections").wait_for()
        assert page.tab.locator(".sections a").all_inner_texts() == ["Health", "Jobs", "Usage", "Keys", "Audit"]
        page.tab.get_by_text("The server is ready.").wait_for()


def test_health_tells_each_dependency_also_of_a_server_that_is_not_ready(browser: Browser) -> None:
    made = app_of()
    made.runtime.states = {
        "database": ScriptedState(ok=False, detail=HOSTILE),
        "model": ScriptedState(ok=False, detail="its breaker is open", required=False),
        "model big": ScriptedState(ok=False, detail="connection refused", required=False),
        "rerank": ScriptedState(ok=False, detail="its breaker is open", required=False),
        "plug-in mine": ScriptedState(ok=True, detail="answers"),
    }
    with running(made.app) as server, browser.page(server.url, path="/#/operate", refusals=(503,)) as page:
        page.tab.get_by_text("The server is not ready.").wait_for()
        assert page.tab.locator(".dependency .state-name").all_inner_texts() == [
            "down, and needed",
            "down; questions are not answered until it is back",
            "down; questions are not answered until it is back",
            "down; answers go on without it",
            "works",
        ]
        made.runtime.states = {"database": ScriptedState(ok=True, detail="up")}
        page.tab.get_by_role("button", name="Look again").click()
        page.tab.get_by_text("The server is ready.").wait_for()


def test_jobs_are_listed_repeated_and_builds_shown(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    made = app_of()
    monkeypatch.setattr(scripts, "COLLECTION", replace(scripts.COLLECTION, building="4"))
    dead = replace(DEAD_JOB, document_id=HOSTILE)
    monkeypatch.setattr(scripted_documents, "DEAD_JOB", dead)
    with running(made.app) as server, browser.page(server.url, path="/#/operate/jobs") as page:
        page.tab.get_by_text("1 of some 3 documents so far").wait_for()
        page.tab.get_by_text("Nothing waits and nothing runs.").wait_for()
        page.tab.get_by_role("button", name="failed", exact=True).click()
        page.tab.get_by_text("an encrypted PDF: remove its password first").wait_for()
        assert "status=failed" in page.tab.url
        assert page.tab.locator(".list tbody th small").first.inner_text() == "docs/1.md"
        page.tab.get_by_role("button", name="Try again: docs/1.md").wait_for()
        with page.tab.expect_response(lambda response: response.url.endswith("/retry")) as told:
            page.tab.get_by_role("button", name="Try again").click()
        assert told.value.status == 202


def test_usage_is_drawn_by_day_beside_its_budget_and_told_as_a_table(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = app_of()
    budget = BudgetState("tenant", "day", NOW, tokens=100, usd=None, spent_tokens=45, spent_usd=0.0)

    async def overview() -> LimitsOverview:
        return LimitsOverview({}, {}, [budget])

    today = scripts.datetime.now(scripts.UTC).date().isoformat()
    used = {"day": today, "model": "gpt", "collection": "default", "subject": HOSTILE}

    async def listed(_tenant: str, *, by: str, **_: Any) -> Page[Any]:
        return Page((replace(scripts.USED, name=used[by]),), None)

    monkeypatch.setattr(made.runtime.limits, "overview", overview)
    monkeypatch.setattr(made.runtime.limits, "list", listed)
    with running(made.app) as server, browser.page(server.url, path="/#/operate/usage") as page:
        page.tab.get_by_role("img", name="Tokens by day, the last 30 days: 45 in all").wait_for()
        assert page.tab.locator(".bar-mark").count() == 30
        heights = page.tab.locator(".bar-mark").evaluate_all("(all) => all.map((each) => +each.getAttribute('height'))")
        assert heights[-1] == 45
        assert sum(heights[:-1]) == 0
        assert page.tab.locator(".bound").count() == 1
        page.tab.get_by_text("45 of 100 tokens").wait_for()
        page.tab.get_by_text("Figures").click()
        assert page.tab.locator(".figures tbody tr").count() == 30
        page.tab.get_by_role("button", name="Calls").click()
        page.tab.get_by_role("img", name="Calls by day, the last 30 days: 3 in all").wait_for()
        page.tab.get_by_label("Time").select_option("7")
        page.tab.wait_for_function("document.querySelectorAll('.bar-mark').length === 7")
        assert "unit=calls&days=7" in page.tab.url


def test_a_key_is_made_shown_once_rotated_and_revoked(browser: Browser) -> None:
    made = app_of(auth=REQUIRED)
    with running(made.app) as server, browser.page(server.url, path="/#/operate/keys", refusals=(401, 422)) as page:
        signed_in(page, BOOTSTRAP)
        page.tab.get_by_role("button", name="New key").click()
        form = page.tab.get_by_role("dialog", name="New key")
        form.get_by_label("What it is for").fill(HOSTILE.replace("\u202e", "").replace("\u202c", ""))
        form.get_by_role("button", name="Create").click()
        form.get_by_text("Choose at least one scope.").wait_for()
        form.get_by_label("query", exact=False).first.check()
        form.get_by_label("Person or application").fill("desk")
        form.get_by_role("button", name="Create").click()
        shown = page.tab.locator(".secret code")
        shown.wait_for()
        text = shown.inner_text()
        (key,) = made.runtime.api_keys.stored.values()
        assert text.startswith(f"fn_{key.id}_")
        assert (key.subject, key.scopes) == ("desk", ("query",))
        page.tab.get_by_role("button", name="Done").click()
        shown.wait_for(state="detached")
        assert text not in page.tab.content()
        card = page.tab.locator(".key")
        card.get_by_role("button", name="Rotate").click()
        page.tab.get_by_label("The earlier one is good for").select_option("86400")
        page.tab.get_by_role("dialog").get_by_role("button", name="Rotate").click()
        shown.wait_for()
        assert shown.inner_text() not in {"", text}
        page.tab.keyboard.press("Escape")
        card.get_by_text("good until").wait_for()
        card.get_by_role("button", name="Revoke").click()
        page.tab.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        page.tab.get_by_text("There are no keys.").wait_for()
        page.tab.get_by_label("Show revoked keys").check()
        assert "revoked" in card.inner_text()
        assert made.runtime.api_keys.stored[key.id].revoked_at is not None


def test_tenants_are_made_suspended_resumed_and_deleted(browser: Browser) -> None:
    made = app_of()
    with running(made.app) as server, browser.page(server.url, path="/#/operate/tenants", refusals=(409,)) as page:
        own = page.tab.get_by_role("row", name="public")
        own.wait_for()
        assert own.get_by_role("button").count() == 0
        page.tab.get_by_label("Name of a new tenant").fill("acme")
        page.tab.keyboard.press("Enter")
        page.tab.get_by_text("409 already-exists").wait_for()
        page.tab.get_by_label("Name of a new tenant").fill("bolt")
        page.tab.keyboard.press("Enter")
        row = page.tab.get_by_role("row", name="bolt")
        row.get_by_role("button", name="Suspend").click()
        page.tab.get_by_role("dialog").get_by_role("button", name="Suspend").click()
        row.get_by_text("suspended").wait_for()
        row.get_by_role("button", name="Resume").click()
        row.get_by_text("active").wait_for()
        row.get_by_role("button", name="Delete").click()
        page.tab.get_by_label("Type “bolt” to confirm").fill("bolt")
        page.tab.keyboard.press("Enter")
        row.wait_for(state="detached")


def test_the_record_is_filtered_and_what_is_in_it_does_not_run(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = '{"name": "\u202e<script>wasRun()</script>", "<b>": null}'
    line = replace(scripts.LINE, object=HOSTILE, subject=HOSTILE, client=HOSTILE, outcome="denied", before_json=state)
    made = app_of()
    asked: list[Any] = []

    async def listed(which: Any, **_: Any) -> Page[Any]:
        asked.append(which)
        return Page((line,), None)

    monkeypatch.setattr(made.runtime.audit, "list", listed)
    with running(made.app) as server, browser.page(server.url, path="/#/operate/audit") as page:
        summary = page.tab.locator(".audit summary")
        summary.wait_for()
        assert "\u202e" not in summary.inner_text()
        assert "\\u202egnp.exe" in summary.inner_text()
        summary.click()
        assert "<script>wasRun()</script>" in page.tab.locator(".change").inner_text()
        assert page.tab.locator("main img, main script, main iframe").count() == 0
        page.tab.get_by_label("What was done").select_option("key.")
        with page.tab.expect_response(lambda response: "subject=ada" in response.url):
            page.tab.get_by_label("Person or application").fill("ada")
        with page.tab.expect_response(lambda response: "from=2026-11-01" in response.url):
            page.tab.get_by_label("From").fill("2026-11-01T12:00")
        assert (asked[-1].action, asked[-1].subject) == ("key.", "ada")
        assert "action=key.&subject=ada&from=2026-11-01T12" in page.tab.url


def test_the_record_tells_names_with_their_ids_behind_them(browser: Browser) -> None:
    made = app_of()
    objects = ("document:default/doc-1", "document:default/gone-1", "generation:default/2", "tenant:acme", "GET /x")
    actions = ("collection.create", "document.delete", "mine.tidy", "key.rotate", "access.deny")
    made.runtime.audit.lines = tuple(
        replace(scripts.LINE, object=each, action=action) for each, action in zip(objects, actions, strict=True)
    )
    with running(made.app) as server, browser.page(server.url, path="/#/operate/audit", language="de-DE") as page:
        found = page.tab.locator(".audit .object")
        found.first.wait_for()
        assert found.all_inner_texts() == [
            "Page 1 Dokument in default",
            "gone-1 Dokument in default",
            "2 Generation von default",
            "acme Mandant",
            "GET /x",
        ]
        assert page.tab.locator(".audit .action").all_inner_texts() == [
            "Sammlung angelegt",
            "Dokument gelöscht",
            "mine.tidy",
            "Schlüssel erneuert",
            "Zugriff abgewiesen",
        ]
        page.tab.locator(".audit summary").first.click()
        assert "collection.create" in page.tab.locator(".audit .facts").first.inner_text()
        assert found.evaluate_all("(all) => all.map((each) => each.title)") == list(objects)
        tops = page.tab.locator(".controls select, .controls input").evaluate_all(
            "(all) => all.map((each) => [each.getBoundingClientRect().top, each.getBoundingClientRect().height])"
        )
        assert len(tops) == 4
        assert len({tuple(each) for each in tops}) == 1  # in one line, and of one height


VIEWS = {
    "collections": ".list",
    "collections/default": ".gate",
    "operate/health": ".dependency",
    "operate/jobs?status=failed": ".list",
    "operate/usage": ".chart",
    "operate/keys": ".key",
    "operate/tenants": ".list",
    "operate/audit": ".audit",
}
"""Each view, and what is there once it is shown."""


def shown(browser: Browser, **options: Any) -> Iterator[tuple[Watched, str]]:
    """Show each view, with hostile names in it."""
    made = app_of()
    made.runtime.api_keys.make("query", "documents:read", name=HOSTILE, groups=("eng", "x" * 80))
    made.runtime.audit.lines = (replace(scripts.LINE, object="document:" + "y" * 200),)
    with running(made.app) as server, browser.page(server.url, **options) as page:
        for view, ready in VIEWS.items():
            page.tab.goto(f"{server.url}/#/{view}")
            page.tab.locator(ready).first.wait_for()
            yield page, view
        page.tab.goto(f"{server.url}/#/documents")
        for way in ("Chunks", "Details"):
            opened(page, way)
            page.tab.locator(".viewer .chunks, .viewer .answers").wait_for()
            yield page, way
            page.tab.get_by_role("button", name="Close").click()
        for path, button in (
            ("collections", "New collection"),
            ("collections/default", "Activate: Generation 3"),
            ("operate/keys", "New key"),
            ("operate/keys", "Rotate"),
        ):
            page.tab.goto(f"{server.url}/#/{path}")
            page.tab.get_by_role("button", name=button).click()
            page.tab.get_by_role("dialog").wait_for()
            yield page, f"{path}: {button}"
            page.tab.keyboard.press("Escape")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, scheme: Literal["light", "dark"]) -> None:
    for page, view in shown(browser, scheme=scheme):
        assert page.seriously_wrong() == [], view


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_narrow_screen_nothing_sticks_out(browser: Browser, width: int) -> None:
    for page, view in shown(browser, **(PHONE | {"width": width})):
        assert sticks_out(page) <= 0, view


def test_german_browsers_operate_in_german(browser: Browser) -> None:
    with (
        running(app_of().app) as server,
        browser.page(server.url, path="/#/operate/keys", language="de-DE") as page,
    ):
        page.tab.get_by_role("heading", name="Betrieb").wait_for()
        assert page.tab.locator(".tabs a").all_inner_texts() == [
            "Fragen",
            "Dokumente",
            "Sammlungen",
            "Qualität",
            "Betrieb",
        ]


@pytest.mark.parametrize(
    ("address", "then"),
    [
        ("/#/?collection=gone", "“default”"),
        ("/#/documents?collection=gone", "Page 1"),
        ("/#/quality?collection=gone", "Golden questions"),
        ("/#/quality?part=runs&collection=gone", "Run an evaluation"),
        ("/#/collections/gone", "Embedding model"),
    ],
)
def test_a_collection_that_does_not_exist_is_said_and_others_are_offered(
    browser: Browser, address: str, then: str
) -> None:
    with running(app_of().app) as server, browser.page(server.url, path=address, refusals=(404,)) as page:
        page.tab.get_by_text("This collection does not exist.").wait_for()
        assert page.tab.get_by_role("alert").count() == 0
        assert page.tab.locator(".composer, .note, .drop").count() == 0
        assert page.seriously_wrong() == []
        page.tab.get_by_role("main").get_by_role("button", name="default").click()
        page.tab.get_by_role("main").get_by_text(then).first.wait_for()


def test_what_a_form_lacks_is_said_in_plain_words(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, path="/#/operate/keys") as page:
        page.tab.get_by_role("button", name="New key").click()
        page.tab.get_by_label("What it is for").fill("A script")
        page.tab.get_by_role("button", name="Create").click()
        page.tab.get_by_role("alert").get_by_text("Choose at least one scope.").wait_for()
        page.tab.goto(f"{server.url}/#/documents")
        address = page.tab.get_by_label("Address of a web page")
        address.fill("ftp://x/y")
        page.tab.get_by_role("button", name="Fetch").click()
        assert address.evaluate("(each) => each.validationMessage") == "It begins with “http://” or “https://”."
        address.fill("https://x.example/y")
        assert address.evaluate("(each) => each.checkValidity()")


def test_a_job_that_waits_for_its_next_try_says_why(browser: Browser) -> None:
    made = app_of()
    error = JobError("fetch-failed", "the address x.example cannot be resolved")
    waits = replace(DONE_JOB, status="queued", error=error, result=None, finished_at=None, next_try_at=NOW)
    made.runtime.jobs.steps = [waits, asyncio.Event()]
    with running(made.app) as server, browser.page(server.url, path="/#/documents") as page:
        page.tab.get_by_label("Address of a web page").fill("https://x.example/y")
        page.tab.get_by_role("button", name="Fetch").click()
        upload = page.tab.locator(".uploads li")
        upload.get_by_text("the address x.example cannot be resolved").wait_for()
        assert "failed; tried again at" in upload.inner_text()


@pytest.mark.parametrize("key", ["Enter", "Tab"])
def test_a_conversation_is_renamed_by_one_request(browser: Browser, key: str) -> None:
    with running(app_of().app) as server, browser.page(server.url) as page:
        sent: list[str] = []
        page.tab.on("request", lambda request: sent.append(request.url) if request.method == "PATCH" else None)
        page.tab.locator(".conversations li").first.hover()
        page.tab.get_by_role("button", name="Rename").first.click()
        page.tab.get_by_label("New title").fill("Another one")
        page.tab.keyboard.press(key)
        page.tab.get_by_role("link", name="Another one").wait_for()
        assert len(sent) == 1


def test_health_is_told_in_the_readers_language(browser: Browser) -> None:
    states = {
        "database": DependencyState(ok=True, detail="answers"),
        "workers": DependencyState(ok=True, detail="x", required=False, facts={"answering": 2, "wanted": 3}),
        "disk": DependencyState(ok=False, detail="no space on /data", required=False),
        "model": DependencyState(ok=True, detail="x", facts={"provider": "local", "model": "qwen"}),
        "connections": DependencyState(
            ok=True, detail="x", facts=Connections(pooled=20, direct=7, allowed=97, open=1, pooler="none").facts
        ),
        "rerank": DependencyState(
            ok=False, detail="its breaker is open", required=False, facts={"provider": "tei", "model": "m"}
        ),
        "embedding": DependencyState(ok=False, detail="unreachable", required=False),
        "model big": DependencyState(ok=True, detail="x", facts={"provider": "p", "model": "m", "note": "key refused"}),
    }
    made = app_of()

    async def health() -> dict[str, DependencyState]:
        return states

    made.runtime.health = health
    with running(made.app) as server, browser.page(server.url, path="/#/operate", language="de-DE") as page:
        cards = page.tab.locator(".dependency")
        cards.nth(7).wait_for()
        assert [each.get_attribute("class").split()[-1] for each in cards.all()].count("good") == 4
        details = [each.split("\n")[-1] for each in cards.all_inner_texts()]
        assert details == [
            "antwortet",
            "2 von 3",
            "no space on /data",
            "qwen (auf dieser Maschine)",
            "höchstens 27; PostgreSQL erlaubt 97, genug für 3 solche Server",
            "its breaker is open",
            "unreachable",
            "m: key refused",
        ]
        assert "nur Fragen nach Stichwörtern" in cards.nth(6).inner_text()


def test_on_a_narrow_screen_the_chosen_links_are_in_view(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, path="/#/operate/audit", **PHONE) as page:
        page.tab.locator(".sections [aria-current]").wait_for()
        for name in (".sections", ".tabs"):
            box = page.tab.locator(f"{name} [aria-current]").bounding_box()
            assert 0 <= box["x"] <= box["x"] + box["width"] <= 390, name


class TwoCollections(ScriptedCollectionCatalog):
    """The collection in two languages, and one beside it, so that there is something to choose."""

    async def list(self, *, limit: int, cursor: str | None = None) -> Page[CollectionInfo]:  # noqa: ARG002
        of_two = replace(scripts.COLLECTION, language="english/german")
        return Page((of_two, replace(scripts.COLLECTION, name="harbour")), None)


def app_of_two() -> Scripted:
    made = app_of()
    made.runtime.collection_catalog = TwoCollections()
    return made


@pytest.mark.parametrize("width", [390, 320])
def test_on_a_telephone_all_views_are_in_sight_and_stay_where_they_are(browser: Browser, width: int) -> None:
    with (
        running(app_of_two().app) as server,
        browser.page(server.url, language="de-DE", **(PHONE | {"width": width})) as page,
    ):
        places = set()
        for view in ("", "documents", "collections", "quality", "operate"):
            page.tab.goto(f"{server.url}/#/{view}")
            page.tab.locator("h1").first.wait_for()
            boxes = [each.bounding_box() for each in page.tab.locator(".tabs a").all()]
            assert len(boxes) == 5
            assert all(0 <= box["x"] <= box["x"] + box["width"] <= width for box in boxes), view
            places.add(tuple((box["x"], box["y"]) for box in boxes))
        assert len(places) == 1
        assert page.tab.locator(".collection").count() == 0  # which the first views have


def test_on_a_telephone_no_score_is_cut(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, language="de-DE", **PHONE) as page:
        page.ask("How do I change the port?")
        page.tab.locator(".why summary").click()
        cells = page.tab.locator(".scores td")
        cells.first.wait_for()
        assert all(box["x"] + box["width"] <= 390 for box in (each.bounding_box() for each in cells.all()))
        scores = "(all) => all.map((each) => getComputedStyle(each, '::before').content)"
        assert "Bedeutung" in cells.evaluate_all(scores)[0]
        assert sticks_out(page) <= 0


def test_headings_of_usage_are_of_one_typeface(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, path="/#/operate/usage") as page:
        page.tab.get_by_role("heading", name="Budgets").wait_for()
        families = "(all) => [...new Set(all.map((each) => getComputedStyle(each).fontFamily))]"
        assert len(page.tab.locator("main :is(h1, h2, h3)").evaluate_all(families)) == 1


@pytest.mark.parametrize("address", ["#/nonsense", "#nonsense", "#/nonsense/of/mine?doc=", "#/c/100%"])
def test_an_address_that_leads_nowhere_becomes_that_of_asking(browser: Browser, address: str) -> None:
    with (
        running(app_of_two().app) as server,
        browser.page(server.url, path="/#/documents?collection=harbour", refusals=(404,)) as page,
    ):
        page.tab.get_by_role("heading", name="Documents").wait_for()
        page.tab.evaluate("(hash) => { location.hash = hash; }", address)
        page.tab.get_by_text("3 documents in “harbour”").wait_for()
        assert page.tab.evaluate("location.hash").replace("doc=&", "") == "#/?collection=harbour"
        page.tab.goto(f"{server.url}/?fresh{address.removesuffix('?doc=')}")
        page.tab.get_by_text("3 documents in “default”").wait_for()
        assert page.tab.evaluate("location.hash") == "#/"


def test_the_drawer_of_options_closes_where_another_view_is_opened(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, refusals=(404,)) as page:
        for address in ("#/documents", "#/c/0b1f6f0e", "#/operate"):
            page.tab.goto(f"{server.url}/#/")
            page.tab.locator("[aria-haspopup=dialog]").click()
            page.tab.get_by_role("dialog").get_by_label("Rerank").select_option("1")
            page.tab.wait_for_url("**rerank=1")
            assert page.tab.get_by_role("dialog").count() == 1
            page.tab.evaluate("(hash) => { location.hash = hash; }", address)
            page.tab.get_by_role("dialog").wait_for(state="detached")
            page.tab.evaluate("location.hash = '#/'")
            page.tab.locator(".composer").wait_for()
            assert page.tab.get_by_role("dialog").count() == 0


def test_the_document_that_is_open_is_the_current_one_of_the_list(browser: Browser) -> None:
    with running(app_of().app) as server, browser.page(server.url, path="/#/documents") as page:
        opened(page, "Text", "Page 2")
        current = page.tab.locator(".list [aria-current]")
        assert current.all_inner_texts() == ["Page 2"]
        grounds = "(rows) => new Set(rows.map((row) => getComputedStyle(row).backgroundColor)).size"
        assert page.tab.locator(".list tbody tr").evaluate_all(grounds) == 2
        assert page.seriously_wrong() == []
        page.tab.get_by_role("button", name="Close").click()
        assert current.count() == 0


def test_languages_are_named_in_the_readers(browser: Browser) -> None:
    with (
        running(app_of_two().app) as server,
        browser.page(server.url, path="/#/collections", language="de-DE") as page,
    ):
        page.tab.get_by_text("Englisch/Deutsch").wait_for()
        page.tab.goto(f"{server.url}/#/collections/default")
        page.tab.get_by_text("256 Tokens, 32 wiederholt · Englisch").first.wait_for()
