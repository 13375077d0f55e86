"""``python -m benchmarks``: measure what is claimed.

Each benchmark runs Footnote and what it is compared with side by side, in turns, in one run: on a shared machine
only the ratios are worth keeping.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from benchmarks.chromium import ChromiumMissing
from benchmarks.corpus import HOW_TO_GET_IT, ManualMissing
from benchmarks.figures import BelowFloor, machine

BENCHMARKS = {
    "quick": "a guard: three ratios with floors, over this documentation, in two minutes; 1 if one is below",
    "start": "the server up to /ready, a worker, an ingestion of one file, beside `import llama_index.core`; memory",
    "ingestion": "pages of the manual: our pipeline, the bare model, LlamaIndex's stock pipeline",
    "rerun": "the same again, with nothing changed, beside reading and hashing the files",
    "query": "/query with an instant model, beside the app of LlamaIndex's tutorials",
    "access": "/retrieve without and with row-level security and a key",
    "first_token": "/query/stream up to the first token, beside asking the model's server directly",
    "streams": "200 at once: tokens' delays, CPU, memory, beside a bare Starlette stream of the same model",
    "page": "the page in Chromium: first paint, bytes, frames while 200 tokens/s come and while long lists scroll",
    "stalls": "the server's event loop while another process ingests",
    "plug_ins": "/health while plug-ins sleep, compute in Python, or block in async methods",
    "store": "load, HNSW build, search and recall over made-up chunks, beside raw SQL",
    "retrieval": "nDCG and recall of every engine over HTTP, beside bm25s, exact dense search and RRF in memory",
    "answers": "right answers by kind of question, and refusals, without a language model: docqa and XQuAD",
    "answer_weights": "fit the weights of quotations and refusals anew, and say what they are worth",
    "prompts": "prompts by models: right footnotes, refusals, planted instructions, tokens (--llm NAME=URL)",
    "readers": "words, table cells and pages that the readers find, beside other tools (--peers, --data)",
    "languages": "German questions, the configured embedding model beside the bundled one: hit at 1",
    "telemetry": "CPU of a query and memory without telemetry, with it, and with one trace in a hundred",
}

STORE_PARTS = ("search", "access", "secrets", "server")
ALL, GUARD = "all", "quick"


def main() -> int:
    """Run the command; return the exit code."""
    options = _parser().parse_args()
    if not options.names:
        print("\n".join(f"{name:12} {what}" for name, what in BENCHMARKS.items()))
        print(
            f"\npython -m benchmarks NAME… (or {ALL}: three quarters of an hour) --manual FOLDER; --help tells the rest"
        )
        print(HOW_TO_GET_IT)
        return 0
    if unknown := {*options.names} - {*BENCHMARKS, ALL}:
        print(f"no such benchmark: {', '.join(unknown)}", file=sys.stderr)
        return 2
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {machine()}", flush=True)
    for name in [each for each in BENCHMARKS if each != GUARD] if ALL in options.names else options.names:
        print(f"\n## {name}: {BENCHMARKS[name]}\n", flush=True)
        try:
            print(import_module(f"benchmarks.{name}").run(options), flush=True)
        except (ManualMissing, ChromiumMissing) as exc:
            print(exc, file=sys.stderr)
            return 2
        except BelowFloor as exc:
            print(exc, file=sys.stderr)
            return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*BENCHMARKS, ALL]))
    parser.add_argument("--manual", type=Path, help="folder with the HTML pages of the PostgreSQL manual")
    parser.add_argument("--folder", type=Path, help="work here, and keep it (default: a temporary folder)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side (default: 3)")
    parser.add_argument("--seconds", type=float, default=6, help="of load in each turn (default: 6)")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64, 256], help="default: 1 16 64 256")
    parser.add_argument("--every", type=int, default=12, help="ingestion: take every n-th page (default: 12)")
    parser.add_argument(
        "--queries", type=int, default=20_000, help="telemetry: while memory is watched (default: 20000; 0: not)"
    )
    parser.add_argument("--chunks", type=int, default=100_000, help="store: how many (default: 100000)")
    parser.add_argument("--llm", nargs="+", default=[], metavar="NAME=URL", help="prompts: models to ask")
    parser.add_argument(
        "--prompts",
        nargs="+",
        default=["rules", "llama_index", "reminder", "turns", "turns_reminder", "inline", "rules+json", "turns+json"],
        help="prompts: templates; with +json in the constrained form",
    )
    parser.add_argument("--again", action="store_true", help="store: measure searches anew over what --folder holds")
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=STORE_PARTS,
        default=STORE_PARTS,
        help="store: what is measured beside the index (default: all)",
    )
    parser.add_argument(
        "--indexes",
        nargs="+",
        default=["vector:16:200"],
        metavar="TYPE:M:EF",
        help="store: HNSW indexes to build, type vector or halfvec, m, ef_construction; the first one is searched",
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="retrieval, answers: folder with xquad.en.json, repliqa-50.json, docqa/; readers: inputs from the field",
    )
    parser.add_argument(
        "--beir",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="retrieval: collections in BEIR's layout, to be asked beside these two",
    )
    parser.add_argument("--sets", nargs="+", help="retrieval: xquad, repliqa, or names of --beir (default: all)")
    parser.add_argument("--questions", type=int, help="retrieval: of each set (default: all); prompts: in all (24)")
    parser.add_argument("--engines", nargs="+", help="retrieval: by name (default: all that need no model)")
    parser.add_argument(
        "--peers",
        nargs="+",
        metavar="PYTHON",
        help="readers: interpreters of environments with other tools (default: this one)",
    )
    parser.add_argument("--all", dest="every", action="store_const", const=1, help="ingestion: take every page")
    return parser


if __name__ == "__main__":
    sys.exit(main())
