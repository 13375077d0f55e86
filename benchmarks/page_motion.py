"""Whether the page moves smoothly: while an answer is written, and while long lists are scrolled."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from benchmarks.chromium import USABLE, Chromium, Motion, Tab
from benchmarks.figures import median, percentile, table
from benchmarks.laboratory import Laboratory
from benchmarks.long_lists import lengthen
from benchmarks.paced_model import Pace

RATE, TOKENS = 200.0, 2000
TEXT = Path(__file__).with_name("answer.md").read_text("utf-8")
KINDS = {
    "headings, lists, tables, code": TEXT,
    "one list": "- **A point** that is made, with `code` and a footnote [1]\n",
    "one block of code": "```python\n" + "\n".join(f"value_{n} = call({n}, 'text')  # line {n}" for n in range(400)),
}
MESSAGES, DOCUMENTS = 500, 10_000
QUESTION = "How do I change the port of the server?"
REST, AFTER = 3.0, 0.3  # seconds
FLICK = 8_000  # pixels a second: ten screens
SWEEP = 24_000  # pixels: a gesture is not to be stopped
MOST_SECONDS = 240.0

AT = """(selector) => {
    const { scrollTop, scrollHeight, clientHeight } = document.querySelector(selector);
    return [scrollTop, scrollHeight - clientHeight - scrollTop];
}"""
SHOWN = """(selector) => {
    const last = [...document.querySelectorAll(selector)].at(-1)?.getBoundingClientRect();
    return last !== undefined && last.height > 0 && last.top < innerHeight && last.bottom > 0;
}"""
LONGER = """([selector, more]) => {
    const { scrollTop, scrollHeight, clientHeight } = document.querySelector(selector);
    return scrollHeight - clientHeight - scrollTop >= 1 || !document.querySelector(more);
}"""
TASKS = ("longest task, ms", "its work at the most, ms of CPU")
WRITTEN = "article.turn:last-of-type[aria-busy=false]"


@dataclass(frozen=True, slots=True)
class Bench:
    """A browser, and the URLs of the server and of the model that it asks."""

    chromium: Chromium
    laboratory: Laboratory
    url: str
    model: str

    def pace(self, pace: Pace) -> None:
        """Set how the model answers from now on."""
        httpx.post(self.model.removesuffix("/v1") + "/pace", json=asdict(pace)).raise_for_status()


@dataclass(frozen=True, slots=True)
class Scroll:
    """A list that was opened, and scrolled through.

    Attributes:
        opening, moving: what the main thread did until it was shown, and while it was scrolled.
        pixels: how far.
        items: how many had been shown at last.

    """

    opening: Motion
    moving: Motion
    pixels: float
    items: int


def motions(bench: Bench, *, rounds: int) -> str:
    """Measure; return the figures."""
    conversation = _long_lists(bench)
    return f"{_streams(bench, conversation, rounds=rounds)}\n\n{_scrolls(bench, conversation)}"


def _long_lists(bench: Bench) -> str:
    """Make the conversation and the list of documents; return the conversation's id."""
    bench.pace(Pace(10 * RATE, tokens=400, text=TEXT))
    answer = httpx.post(f"{bench.url}/chat", json={"message": QUESTION}, timeout=60).raise_for_status().json()
    conversation: str = answer["conversation_id"]
    lengthen(bench.laboratory.url, conversation, turns=MESSAGES // 2, documents=DOCUMENTS)
    return conversation


def _streams(bench: Bench, conversation: str, *, rounds: int) -> str:
    runs: dict[str, list[Motion]] = {"at rest: nothing is asked": []}
    for _ in range(rounds):
        with bench.chromium.tab() as tab:
            tab.open(bench.url, shows=USABLE)
            with tab.moving() as made:
                time.sleep(REST)
        runs["at rest: nothing is asked"] += made
        for name, text in KINDS.items():
            runs.setdefault(name, []).append(_written(bench, "/#/?keep=0", text))
        name = f"the first, at the end of {MESSAGES} messages"
        runs.setdefault(name, []).append(_written(bench, f"/#/c/{conversation}?keep=0", TEXT))
    rows: list[list[object]] = [
        [
            name,
            median(each.rate for each in made),
            median(percentile(each.gaps, 0.99) for each in made),
            max(max(each.gaps) for each in made),
            median(each.changed / each.seconds for each in made),
            *_longest(made),
            median(each.busy for each in made) * 100,
            median(each.seconds for each in made),
        ]
        for name, made in runs.items()
    ]
    head = ["", "frames/s", "between two, p99 ms", "most", "text changed, times/s", *TASKS,
            "main thread busy, %", "seconds"]  # fmt: skip
    return f"{RATE:.0f} tokens/s, {TOKENS} in all, an answer that is:\n\n{table(head, rows)}"


def _written(bench: Bench, path: str, text: str) -> Motion:
    """Ask, and watch while the answer is written."""
    with bench.chromium.tab() as tab:
        tab.open(bench.url + path, shows=USABLE)
        if "/c/" in path:
            tab.page.wait_for_function(SHOWN, arg="article.turn .actions")
            time.sleep(2)
        bench.pace(Pace(RATE, tokens=TOKENS, text=text))
        tab.page.fill(USABLE, QUESTION)
        tab.page.keyboard.press("Enter")
        tab.page.locator("article.turn:last-of-type[aria-busy=true] .prose").wait_for()
        with tab.moving("article.turn:last-of-type .prose") as made:
            tab.page.locator(WRITTEN).wait_for()
            time.sleep(AFTER)
        tab.page.screenshot(path=bench.laboratory.folder / "page-written.png")
    return made[0]


def _scrolls(bench: Bench, conversation: str) -> str:
    found = {
        f"a conversation of {MESSAGES} messages": _conversation(bench, conversation),
        f"a list of {DOCUMENTS:,} documents": _documents(bench),
    }
    rows: list[list[object]] = [
        [
            name,
            made.opening.seconds,
            *_longest([made.opening]),
            made.items,
            made.pixels / made.moving.seconds,
            made.moving.rate,
            percentile(made.moving.gaps, 0.99),
            max(made.moving.gaps),
            max(made.moving.tasks, default="under 50"),
        ]
        for name, made in found.items()
    ]
    head = ["", "shown after s", *TASKS, "scrolled through", "pixels/s", "frames/s", "between two, p99 ms", "most",
            TASKS[0]]  # fmt: skip
    return f"Lists, opened and scrolled to the other end; tasks until they were shown, and then:\n\n{table(head, rows)}"


def _longest(made: Sequence[Motion]) -> tuple[object, float]:
    tasks = [task for motion in made for task in motion.tasks]
    return max(tasks, default="under 50"), max(task for motion in made for task in motion.work)


def _conversation(bench: Bench, conversation: str) -> Scroll:
    """Open it at its end, and scroll to its beginning."""
    with bench.chromium.tab() as tab:
        tab.open(bench.url, shows=USABLE)
        with tab.moving() as opening:
            tab.page.evaluate("(id) => void (location.hash = `/c/${id}`)", conversation)
            tab.page.wait_for_function(SHOWN, arg="article.turn .actions")
        tab.page.screenshot(path=bench.laboratory.folder / "page-conversation.png")
        time.sleep(AFTER)
        with tab.moving(traced=False) as moving:
            pixels = _swept(tab, "main.ask", up=True)
        tab.page.screenshot(path=bench.laboratory.folder / "page-conversation-begin.png")
        return Scroll(opening[0], moving[0], pixels, 2 * tab.page.locator("article.turn").count())


def _documents(bench: Bench) -> Scroll:
    """Open the list, and scroll until its end or until the time is up."""
    with bench.chromium.tab() as tab:
        tab.open(bench.url, shows=USABLE)
        with tab.moving() as opening:
            tab.page.evaluate("location.hash = '/documents'")
            tab.page.wait_for_function(SHOWN, arg=".list tbody tr:nth-child(3)")
        seen: set[str] = set()
        tab.page.on("response", lambda response: seen.add(response.url) if "/documents?" in response.url else None)
        with tab.moving(traced=False) as moving:
            pixels = _swept(tab, "main.documents", up=False, more=".documents .wide > .button")
        tab.page.screenshot(path=bench.laboratory.folder / "page-documents-end.png")
        return Scroll(opening[0], moving[0], pixels, 100 * (1 + len(seen)))


def _swept(tab: Tab, selector: str, *, up: bool, more: str = "") -> float:
    """Scroll to an end; where a button says that there is more, wait for that; return how many pixels it was."""
    swept, began = 0.0, time.monotonic()
    while time.monotonic() < began + MOST_SECONDS:
        above, below = tab.page.evaluate(AT, selector)
        left = above if up else below
        if left >= 1:
            step = min(SWEEP, left)
            tab.scroll(-step if up else step, speed=FLICK)
            swept += step
        elif more and tab.page.locator(more).count():
            tab.page.wait_for_function(LONGER, arg=[selector, more])
        else:
            break
    return swept
