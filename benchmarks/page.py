"""The page in a real Chromium: what it paints and fetches, and whether it moves smoothly.

The server is a process of its own with the embedded PostgreSQL, and a model's server writes Markdown at a fixed pace.
All of them share the machine's cores with the browser, which draws without a graphics card: what Chromium itself takes
is shown beside, as an almost empty page of the same server and as the page at rest.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable

from benchmarks.chromium import USABLE, Chromium, Opening, open_chromium
from benchmarks.figures import median, table
from benchmarks.laboratory import ROOT, open_laboratory
from benchmarks.page_motion import Bench, motions

OPENINGS = 10
"""The least. The first of each finds a browser that has not shown anything yet, and is not counted."""
FLOOR, PAGE, AGAIN = "`/health`, a line of text", "the page", "the page again, its files kept"


def run(options: argparse.Namespace) -> str:
    """Measure; return the figures.

    Raises:
        ChromiumMissing: it is not there.

    """
    with (
        open_laboratory(options.folder) as laboratory,
        laboratory.serving("benchmarks.paced_model") as model,
        open_chromium() as chromium,
    ):
        laboratory.run("ingestion", str(ROOT / "docs"), "--json")
        llm = {"PROVIDER": "openai_like", "MODEL": "paced", "BASE_URL": model, "API_KEY": "none"}
        settings = {f"LLM__{name}": value for name, value in llm.items()} | {"RETRIEVAL__REFUSE": "0"}
        with laboratory.serving("server", **settings) as url:
            return "\n\n".join([
                f"Chromium {chromium.version}, headless",
                _openings(chromium, url, rounds=max(OPENINGS, options.rounds)),
                _bytes(chromium, url),
                motions(Bench(chromium, laboratory, url, model), rounds=options.rounds),
            ])  # fmt: skip


def _openings(chromium: Chromium, url: str, *, rounds: int) -> str:
    """Measure how soon something is seen, in turns."""
    found: dict[str, list[Opening]] = defaultdict(list)
    for number in range(rounds + 1):
        made: dict[str, Opening] = {}
        for name in (FLOOR, PAGE) if number % 2 else (PAGE, FLOOR):
            with chromium.tab() as tab:
                if name == PAGE:
                    made[PAGE] = tab.open(url, shows=USABLE)
                    tab.open(f"{url}/health")
                    made[AGAIN] = tab.open(url, shows=USABLE)
                else:
                    made[FLOOR] = tab.open(f"{url}/health")
        for name, opening in made.items() if number else ():
            found[name].append(opening)
    parts: list[Callable[[Opening], float]] = [
        lambda each: each.paint,
        lambda each: each.content,
        lambda each: each.usable,
    ]
    rows: list[list[object]] = [
        [
            name,
            median(each.answered for each in found[name]),
            *(figure(map(part, found[name])) or "" for part in parts for figure in (median, max)),
        ]
        for name in (FLOOR, PAGE, AGAIN)
    ]
    head = ["", "HTML there, ms", "first paint, median ms", "most", "first contentful paint, median ms", "most",
            "a question can be typed, median ms", "most"]  # fmt: skip
    return f"Opened {rounds} times each, in turns, with an empty cache:\n\n{table(head, rows)}"


def _bytes(chromium: Chromium, url: str) -> str:
    """Count what the page fetches before a question is asked, and what an answer with code adds."""
    with chromium.tab() as tab:
        tab.open(url, shows=USABLE)
        tab.page.wait_for_load_state("networkidle")
        received, requests = Counter(tab.received), Counter(tab.requests)
    rows: list[list[object]] = [[kind, requests[kind], size / 1000] for kind, size in received.most_common()]
    rows.append(["in all", requests.total(), received.total() / 1000])
    return f"Over the wire, heads included:\n\n{table(['', 'requests', 'kB'], rows)}"
