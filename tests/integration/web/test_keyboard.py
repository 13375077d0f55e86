"""Every view by keyboard alone, in a real browser: the focus is never lost, always seen, and comes everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.browser import Browser, Watched, open_browser
from support.scripted import HAPPY, running, scripted_app

INSTALL = """() => {
    const CAN = "a[href], button, input, select, textarea, summary, [tabindex]";
    const shown = (each) => each.checkVisibility({ visibilityProperty: true }) && each.getClientRects().length > 0;
    window.reachable = () => [...(document.querySelector("dialog[open]") ?? document).querySelectorAll(CAN)]
        .filter((each) => each.tabIndex >= 0 && !each.disabled && shown(each));
    window.named = (each) => `${each.tagName.toLowerCase()} ${(each.ariaLabel || each.innerText || each.name || each.className).slice(0, 60)}`;
    // what is wrong with the focus: where it is, whether it can be seen, whether it shows
    window.lost = () => {
        const each = document.activeElement;
        if (!each || each === document.body) return "the focus is lost";
        const box = each.getBoundingClientRect();
        const [left, right] = [Math.max(0, box.left), Math.min(innerWidth, box.right)];
        const [top, bottom] = [Math.max(0, box.top), Math.min(innerHeight, box.bottom)];
        if (right - left < 1 || bottom - top < 1) return `${named(each)} is out of sight`;
        const points = [0.5, 0.1, 0.9].map((at) => document.elementFromPoint((left + right) / 2, top + (bottom - top) * at));
        if (!points.some((over) => over && (each.contains(over) || over.contains(each)))) return `${named(each)} is covered`;
        const rings = (part) => { const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(part); return (outlineStyle !== "none" && outlineWidth !== "0px") || boxShadow !== "none"; };
        if (!rings(each) && !rings(each.closest("form, label, li") ?? each)) return `${named(each)} does not show that it has the focus`;
        return "";
    };
}"""  # noqa: E501
MOST = 250


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start Chromium, once for all tests of the module."""
    with open_browser() as opened:
        yield opened


def walk(page: Watched, key: str = "Tab") -> list[str]:
    """Press a key until the focus has been everywhere; return what was wrong."""
    page.tab.evaluate(INSTALL)
    page.tab.evaluate("document.activeElement?.blur(); window.seen = new Set();")
    wrong: list[str] = []
    ends = 0
    for _ in range(MOST):
        page.tab.evaluate("window.before = document.activeElement")
        page.tab.keyboard.press(key)
        if page.tab.evaluate("before === document.activeElement && before !== document.body"):
            wrong.append(page.tab.evaluate("lost()"))  # a part of it, such as the month of a date
            continue
        if page.tab.evaluate("seen.has(document.activeElement)"):
            break  # round
        if page.tab.evaluate("document.activeElement === document.body"):
            ends += 1  # past the last one the browser itself has the focus, once
            if ends > 1:
                wrong.append("the focus is lost")
                break
            continue
        page.tab.evaluate("seen.add(document.activeElement)")
        wrong.append(page.tab.evaluate("lost()"))
    missed = page.tab.evaluate("reachable().filter((each) => !seen.has(each)).map(named)")
    return [each for each in wrong if each] + [f"{each} is not reached" for each in missed]


def answered(page: Watched) -> None:
    page.ask("Which port?")
    page.tab.get_by_text("Why this answer").click()


def document_open(page: Watched) -> None:
    page.tab.get_by_role("button", name="Open Page 1").click()
    page.tab.locator(".viewer").get_by_role("button", name="Chunks", exact=True).click()
    page.tab.locator(".chunks li").first.wait_for()


def golden_form(page: Watched) -> None:
    page.tab.get_by_role("button", name="Add a golden question").click()
    page.tab.get_by_role("combobox", name="Right documents").fill("page")
    page.tab.get_by_role("option").nth(1).click()


def audit_line(page: Watched) -> None:
    page.tab.locator(".audit summary").first.click()


def nothing(_: Watched) -> None: ...


VIEWS: dict[str, tuple[str, str, Callable[[Watched], None]]] = {
    "ask": ("/", ".composer", nothing),
    "answer": ("/", ".composer", answered),
    "documents": ("/documents", ".list", nothing),
    "document": ("/documents", ".list", document_open),
    "collections": ("/collections", ".list", nothing),
    "collection": ("/collections/default", ".generations", nothing),
    "golden": ("/quality", ".nothing", golden_form),
    "runs": ("/quality?part=runs", ".panel", nothing),
    "health": ("/operate/health", ".dependency", nothing),
    "jobs": ("/operate/jobs", "#jobs", nothing),
    "usage": ("/operate/usage", ".chart", nothing),
    "keys": ("/operate/keys", "#keys", nothing),
    "tenants": ("/operate/tenants", ".list", nothing),
    "audit": ("/operate/audit", ".audit", audit_line),
}


@pytest.mark.parametrize("width", [1280, 390])
def test_the_focus_comes_everywhere_and_is_seen(browser: Browser, width: int) -> None:
    found: dict[str, Any] = {}
    with running(scripted_app(HAPPY).app) as server:
        for name, (path, ready, prepare) in VIEWS.items():
            with browser.page(server.url, path=f"/#{path}", width=width, height=800) as page:
                page.tab.locator(ready).first.wait_for()
                prepare(page)
                found |= {f"{name} {key}": wrong for key in ("Tab", "Shift+Tab") if (wrong := walk(page, key))}
    assert not found, "\n".join(f"{view}: {each}" for view, wrong in found.items() for each in wrong)


@pytest.mark.parametrize("width", [1280, 390])
def test_what_lies_over_the_page_takes_the_focus_and_gives_it_back(browser: Browser, width: int) -> None:
    with running(scripted_app(HAPPY).app) as server:
        with browser.page(server.url, path="/#/documents", width=width) as page:
            opener = page.tab.get_by_role("button", name="Open Page 1")
            opener.press("Enter")
            page.tab.locator(".viewer").wait_for()
            page.tab.locator(".viewer :focus").wait_for()
            page.tab.keyboard.press("Escape")
            page.tab.locator(".viewer").wait_for(state="detached")
            page.tab.locator("button[aria-label='Open Page 1']:focus").wait_for()
        with browser.page(server.url, path="/#/collections", width=width) as page:
            page.tab.locator(".list").wait_for()
            opener = page.tab.get_by_role("button", name="New collection")
            opener.press("Enter")
            page.tab.get_by_role("dialog").wait_for()
            assert walk(page) == []
            page.tab.keyboard.press("Escape")
            page.tab.get_by_role("dialog").wait_for(state="detached")
            assert page.tab.evaluate("document.activeElement.innerText.trim()") == opener.inner_text().strip()
