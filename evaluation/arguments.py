"""The command line: ``python -m evaluation run | compare | make | convert``."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from evaluation.asking import Variant

RUN, COMPARE, MAKE, CONVERT = "run", "compare", "make", "convert"


def parse_arguments(arguments: Sequence[str] | None, *, description: str) -> argparse.Namespace:
    """Read the arguments.

    Raises:
        SystemExit: they cannot be read, or help was asked for.

    """
    parser = argparse.ArgumentParser(prog="python -m evaluation", description=description)
    commands = parser.add_subparsers(dest="command", required=True)
    _run(commands.add_parser(RUN, help="ask golden questions and say how well what is right was found"))
    _compare(commands.add_parser(COMPARE, help="set two runs against each other, question by question"))
    _make(commands.add_parser(MAKE, help="let the configured model ask about a collection's own passages"))
    _convert(commands.add_parser(CONVERT, help="golden questions from a public data set"))
    return parser.parse_args(arguments)


def _run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("golden", type=Path, metavar="GOLDEN", help="golden questions, a JSON object a line")
    parser.add_argument("--collection", default="default", help="that is asked (default: default)")
    parser.add_argument(
        "--engine",
        type=_variants,
        default="hybrid",
        metavar="NAME,…",
        help="engines to ask, with options of a request: hybrid,vector,hybrid+rerank,hybrid+max_per_document=2",
    )
    parser.add_argument("--k", type=_k, default=10, help="passages asked for, and how far metrics look (default: 10)")
    parser.add_argument("--generation", metavar="N", help="ask this one, in place of the one that answers")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="another value of a setting, such as retrieval.rrf_k=20",
    )
    parser.add_argument("--url", help="ask a running server, such as http://127.0.0.1:8000 (default: in this process)")
    parser.add_argument(
        "--caller",
        type=Path,
        metavar="FILE",
        help="find what this caller may read, a JSON object with tenant, subject, groups and sees_all (default: all)",
    )
    parser.add_argument("--progress", action="store_true", help="write a line to stderr for each question")
    parser.add_argument("--judge", action="store_true", help="also let answers be written, and judged by the model")
    _output(parser)
    parser.add_argument(
        "--floor",
        action="append",
        default=[],
        metavar="NAME=LEAST",
        help="exit with 4 where a figure is below: ndcg@10=0.8, passages.recall@10=0.9, no-answer-rate=0.5",
    )


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="A.json", help="an earlier run")
    parser.add_argument("second", type=Path, metavar="B.json", help="a later one")
    parser.add_argument("--engine", metavar="A,B", help="which engine of each, where they have several")
    _output(parser)


def _make(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--collection", default="default", help="whose passages are asked about (default: default)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="GOLDEN", help="file to write")
    parser.add_argument("--questions", type=_count, default=50, help="how many (default: 50)")
    parser.add_argument("--answers", action="store_true", help="also let the model write reference answers")
    parser.add_argument("--seed", type=int, default=0, help="another one chooses other passages (default: 0)")


def _convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("layout", choices=["squad", "beir"], help="of the data set")
    parser.add_argument("path", type=Path, metavar="PATH", help="SQuAD's JSON file, or BEIR's folder")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="GOLDEN", help="file to write")
    parser.add_argument("--documents", type=Path, metavar="DIR", help="also write the documents there, to ingest them")
    parser.add_argument("--split", type=_split, default="test", help="BEIR: which qrels (default: test)")


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, question by question")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a report for people")


def _variants(text: str) -> tuple[Variant, ...]:
    variants = tuple(_variant(name.strip()) for name in text.split(",") if name.strip())
    names = [variant.name for variant in variants]
    if not variants or len(set(names)) < len(names):
        msg = "names of engines are wanted, each once"
        raise argparse.ArgumentTypeError(msg)
    return variants


def _variant(text: str) -> Variant:
    mode, *assignments = text.split("+")
    options: dict[str, object] = {}
    for assignment in assignments:
        name, has_value, value = assignment.partition("=")
        if name in {"", "mode", "k", "question", "collection", "filters", "stream"}:
            msg = f"{text[:80]!r}: name+option=value is wanted"
            raise argparse.ArgumentTypeError(msg)
        options[name] = _json(value) if has_value else True
    return Variant(text, mode, options)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _k(text: str) -> int:
    return _between(text, 100)


def _count(text: str) -> int:
    return _between(text, 10_000)


def _between(text: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
        msg = f"a whole number from 1 to {most} is wanted"
        raise argparse.ArgumentTypeError(msg)
    return int(text)


def _split(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_-]{1,60}", text) is None:
        msg = "a name such as test is wanted"
        raise argparse.ArgumentTypeError(msg)
    return text
