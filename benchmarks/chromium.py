"""Chromium, driven by Playwright: what a tab paints, fetches and draws.

Frames are those of `requestAnimationFrame`. A task is what the page's main thread does without a pause: how long it
took is what ``PerformanceObserver`` tells as ``longtask`` (none below 50 ms), how much work it was is in Chromium's
trace. Beside other programs the first is more than the second.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
TRACED = "disabled-by-default-devtools.timeline"  # which has the tasks
PATIENCE = 120_000  # milliseconds

USABLE = ".composer textarea"
WATCH = """
window.watch = { tasks: [], frames: [], changed: 0, dirty: false, running: false, usable: null };
new PerformanceObserver((list) => {
    for (const each of list.getEntries()) watch.tasks.push({ at: each.startTime, ms: each.duration });
}).observe({ type: "longtask", buffered: true });
new MutationObserver((_, self) => {
    if (!document.querySelector("USABLE")) return;
    watch.usable = performance.now();
    self.disconnect();
}).observe(document, { childList: true, subtree: true });
watch.begin = (selector) => {
    Object.assign(watch, { frames: [], changed: 0, dirty: false, running: true, began: performance.now() });
    const frame = (at) => {
        watch.frames.push(at);
        if (watch.dirty) watch.changed++;
        watch.dirty = false;
        if (watch.running) requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    watch.observer = new MutationObserver(() => (watch.dirty = true));
    const watched = selector && document.querySelector(selector);
    if (watched) watch.observer.observe(watched, { childList: true, subtree: true, characterData: true });
};
watch.end = async () => {
    watch.running = false;
    watch.observer.disconnect();
    const ended = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 200)); // long tasks are told of late
    return { seconds: (ended - watch.began) / 1000, frames: watch.frames, changed: watch.changed,
             tasks: watch.tasks.filter(({ at, ms }) => at + ms > watch.began && at < ended).map(({ ms }) => ms) };
};
""".replace("USABLE", USABLE)
OPENING = """async () => {
    while (!performance.getEntriesByName("first-contentful-paint").length)
        await new Promise((resolve) => setTimeout(resolve, 5));
    const [navigation] = performance.getEntriesByType("navigation");
    const paints = Object.fromEntries(performance.getEntriesByType("paint").map((each) => [each.name, each.startTime]));
    return { answered: navigation.responseEnd, paint: paints["first-paint"], content: paints["first-contentful-paint"],
             usable: watch.usable ?? 0 };
}"""


class ChromiumMissing(Exception):
    """There is no Chromium, or no Playwright to drive it."""


@dataclass(frozen=True, slots=True)
class Opening:
    """When a page came, in milliseconds after it was asked for.

    Attributes:
        answered: when its HTML was there.
        paint, content: first paint, first contentful paint.
        usable: when a question could be typed; 0 where none can.

    """

    answered: float
    paint: float
    content: float
    usable: float


@dataclass(frozen=True, slots=True)
class Motion:
    """What the main thread did for a while.

    Attributes:
        frames: when each began, in milliseconds.
        changed: frames before which what was watched had changed.
        tasks: milliseconds of each task of 50 or more, by the clock.
        work: milliseconds of the main thread's CPU of each task; empty where that was not traced.

    """

    seconds: float
    frames: list[float]
    changed: int
    tasks: list[float]
    work: list[float]

    @property
    def rate(self) -> float:
        """Frames a second."""
        return (len(self.frames) - 1) / (self.frames[-1] - self.frames[0]) * 1000 if len(self.frames) > 1 else 0.0

    @property
    def gaps(self) -> list[float]:
        """Milliseconds between frames."""
        return [later - earlier for earlier, later in zip(self.frames, self.frames[1:], strict=False)]

    @property
    def busy(self) -> float:
        """Share of the time that the main thread was at work."""
        return sum(self.work) / self.seconds / 1000


@dataclass
class Tab:
    """A tab with an empty cache of its own.

    Attributes:
        received: bytes over the wire, head and body, by kind (``Document``, ``Stylesheet``, ``Script``, ``Fetch``, …).
        requests: their number, by kind.

    """

    browser: Browser
    page: Page
    cdp: CDPSession
    received: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    _kinds: dict[str, str] = field(default_factory=dict)

    def open(self, url: str, *, shows: str = "body") -> Opening:
        """Open an address, and wait until it shows an element; return when it came."""
        self.page.goto(url)
        self.page.locator(shows).first.wait_for()
        return Opening(**self.page.evaluate(OPENING))

    @contextmanager
    def moving(self, selector: str = "body", *, traced: bool = True) -> Iterator[list[Motion]]:
        """Watch frames and tasks, and changes of an element, during the block; fill the list at its end.

        The trace of a minute takes longer to write than the minute: without it the work of tasks is not known.
        """
        made: list[Motion] = []
        if traced:
            self.browser.start_tracing(page=self.page, categories=[TRACED])
        self.page.evaluate("(selector) => watch.begin(selector)", selector)
        yield made
        found = self.page.evaluate("watch.end()")
        made.append(Motion(work=task_ms(self.browser.stop_tracing()) if traced else [], **found))

    def scroll(self, pixels: float, *, speed: float) -> None:
        """Turn the wheel in the middle of the page; down is positive, `speed` in pixels a second."""
        gesture = {"x": 640, "y": 300, "yDistance": -pixels, "speed": speed, "gestureSourceType": "mouse"}
        self.cdp.send("Input.synthesizeScrollGesture", gesture)

    def _answered(self, event: dict[str, Any]) -> None:
        self._kinds[event["requestId"]] = event["type"]

    def _received(self, event: dict[str, Any]) -> None:
        kind = self._kinds.get(event["requestId"], "Other")
        self.received[kind] += int(event["encodedDataLength"])
        self.requests[kind] += 1


def task_ms(trace: bytes) -> list[float]:
    """Return the milliseconds of CPU of each task of pages' main threads in a trace of the category `TRACED`."""
    events = json.loads(trace)["traceEvents"]
    mains = {
        (each["pid"], each["tid"])
        for each in events
        if each["name"] == "thread_name" and each["args"]["name"] == "CrRendererMain"
    }
    return [
        each["tdur"] / 1000
        for each in events
        if each["name"] == "RunTask" and "tdur" in each and (each["pid"], each["tid"]) in mains
    ]


class Chromium:
    """See `open_chromium`."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.version = browser.version

    @contextmanager
    def tab(self) -> Iterator[Tab]:
        """Open a tab in a profile of its own."""
        context = self._browser.new_context(viewport={"width": 1280, "height": 800}, locale="en-GB")
        try:
            context.set_default_timeout(PATIENCE)
            context.add_init_script(WATCH)
            page = context.new_page()
            tab = Tab(self._browser, page, context.new_cdp_session(page))
            tab.cdp.on("Network.responseReceived", tab._answered)  # noqa: SLF001 (its own)
            tab.cdp.on("Network.loadingFinished", tab._received)  # noqa: SLF001
            tab.cdp.send("Network.enable")
            yield tab
        finally:
            context.close()


@contextmanager
def open_chromium() -> Iterator[Chromium]:
    """Start it.

    Raises:
        ChromiumMissing: it is not installed, or Playwright is not.

    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        msg = "there is no Chromium: apt-get install chromium"
        raise ChromiumMissing(msg)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as exc:
        msg = "there is no Playwright: make install"
        raise ChromiumMissing(msg) from exc
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, headless=True, args=list(FLAGS))
        try:
            yield Chromium(browser)
        finally:
            browser.close()
