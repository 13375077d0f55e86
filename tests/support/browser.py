"""A real Chromium, driven by Playwright; what a page must never do fails the test.

    with open_browser() as browser, browser.page(server.url) as page:
        page.ask("How do I change the port?")
        ...

At the end of a page's block there must have been no error on its console, no violation of its Content-Security-Policy,
no dialog and no request to another host.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from benchmarks.chromium import FLAGS, PROGRAMS, TRACED, task_ms

MISSING = "there is no Chromium: apt-get install chromium"
NO_PLAYWRIGHT = "there is no playwright: make install"
AXE = Path(__file__).parents[1] / "data" / "axe" / "axe.js"
PATIENCE = 60_000
"""Milliseconds that something may take on a busy machine."""
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
    window.violations.push(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
window.wasRun = () => window.violations.push("a script of somebody else's ran");
"""


@dataclass
class Watched:
    """A page of Footnote's.

    Attributes:
        tab: Playwright's page.
        refusals: statuses that the server may answer with; the browser tells each as an error on its console.

    """

    tab: Any
    url: str
    refusals: tuple[int, ...] = ()
    offline: bool = False
    troubles: list[str] = field(default_factory=list)

    def ask(self, question: str) -> None:
        """Ask, and wait until the answer is complete."""
        self.tab.fill(".composer textarea", question)
        self.tab.keyboard.press("Enter")
        self.tab.locator("article.turn:last-of-type[aria-busy=false]").wait_for()

    @contextlib.contextmanager
    def worked(self) -> Iterator[list[float]]:
        """Trace the block; fill the list at its end with the milliseconds of CPU of each task of the main thread."""
        tasks: list[float] = []
        self.tab.context.browser.start_tracing(page=self.tab, categories=[TRACED])
        yield tasks
        tasks += task_ms(self.tab.context.browser.stop_tracing())

    def violations(self) -> list[str]:
        """Return what the Content-Security-Policy has stopped, and whether a script ran that is not the page's."""
        found: list[str] = self.tab.evaluate("window.violations")
        return found

    def seriously_wrong(self) -> list[str]:
        """Return what axe-core finds serious or worse."""
        self.tab.evaluate(AXE.read_text(encoding="utf-8"))
        found = self.tab.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']}: {node['target']} {node['failureSummary']}"
            for each in found["violations"]
            if each["impact"] in {"serious", "critical"}
            for node in each["nodes"]
        ]

    def _heard(self, message: Any) -> None:
        allowed = [f"status of {status}" for status in self.refusals]
        if message.type in {"error", "warning"} and not any(each in message.text for each in allowed):
            if self.offline and "net::ERR_" in message.text:
                return
            self.troubles.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        if urlsplit(request.url).netloc != urlsplit(self.url).netloc and not request.url.startswith("blob:"):
            self.troubles.append(f"asked another host: {request.url}")

    def _dialog(self, dialog: Any) -> None:
        self.troubles.append(f"dialog: {dialog.message}")
        dialog.dismiss()


class Browser:
    """See `open_browser`."""

    def __init__(self, chromium: Any) -> None:
        self._chromium = chromium

    @contextlib.contextmanager
    def page(
        self,
        url: str,
        *,
        path: str = "/",
        width: int = 1280,
        height: int = 800,
        scheme: Literal["light", "dark"] = "light",
        language: str = "en-GB",
        refusals: tuple[int, ...] = (),
        **options: Any,
    ) -> Iterator[Watched]:
        """Open the page in a profile of its own."""
        size = {"width": width, "height": height}
        context = self._chromium.new_context(viewport=size, color_scheme=scheme, locale=language, **options)
        context.set_default_timeout(PATIENCE)
        context.add_init_script(WATCH)
        page = Watched(context.new_page(), url, refusals)
        page.tab.on("console", page._heard)
        page.tab.on("pageerror", lambda error: page.troubles.append(f"error: {error}"))
        page.tab.on("dialog", page._dialog)
        page.tab.on("request", page._asked)
        try:
            page.tab.goto(url + path)
            yield page
            page.troubles += page.violations()
        finally:
            context.close()
        assert page.troubles == []


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium; skip the test where it, or Playwright, is not installed."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip(MISSING)
    playwright = pytest.importorskip("playwright.sync_api", reason=NO_PLAYWRIGHT)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=program, headless=True, args=list(FLAGS))
        try:
            yield Browser(chromium)
        finally:
            chromium.close()
