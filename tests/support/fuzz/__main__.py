"""``python -m support.fuzz``: damage small files of each kind for a bounded time, and report what the readers do wrong.

``make fuzz`` sets the path. A finding is made again by ``--only FILE --seed N``, with the same folders.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path, PurePath

from support.fuzz.corpus import corpus
from support.fuzz.fuzzer import Fuzzer, Report
from support.fuzz.places import places
from support.fuzz.reading import reading

ROOT = Path(__file__).resolve().parents[3]


def main() -> int:
    """Run the command; return 1 if there are findings."""
    options = _parser().parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="footnote-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    report = asyncio.run(_run(options, folder))
    where = places([Path(str(line["saved"])) for line in report.found if line["kind"] == "exception"])
    for line in report.found:
        print(
            f"{line['kind']}: {line['saved']}\n    {line['mutation']}: {where.get(str(line['saved']), line['detail'])}"
        )
    print(f"{sum(report.tried.values())} files tried, {len(report.found)} findings; they are in {folder}")
    return 1 if report.found else 0


async def _run(options: argparse.Namespace, folder: Path) -> Report:
    files = corpus([*options.corpus, ROOT / "tests" / "data" / "field"])
    if options.kinds:
        files = {name: data for name, data in files.items() if PurePath(name).suffix[1:] in options.kinds}
    async with reading(seconds=options.limit) as parser:
        fuzzer = Fuzzer(files, parser=parser, folder=folder)
        if options.only:
            print(await fuzzer.case(options.only, seed=options.seed))
            return fuzzer.report
        return await fuzzer.run(seconds=options.seconds, seed=options.seed, watch=lambda line: print(line, flush=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m support.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("corpus", nargs="*", type=Path, help="folders with more files to damage")
    parser.add_argument("--seconds", type=float, default=20, help="for each ending (default: 20)")
    parser.add_argument("--limit", type=float, default=30, help="seconds that one file may take (default: 30)")
    parser.add_argument("--seed", type=int, default=0, help="of the first case (default: 0)")
    parser.add_argument("--kinds", nargs="+", help="endings to try, such as pdf docx (default: all)")
    parser.add_argument("--only", metavar="FILE", help="one case: this file of the corpus, by --seed")
    parser.add_argument("--folder", type=Path, help="for findings (default: a new temporary folder)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
