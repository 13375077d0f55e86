"""A little fuzzing, always the same cases; `make soak` tries more of them, `make fuzz` as many as it has time."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from support.fuzz.corpus import made
from support.fuzz.fuzzer import ENDING, Fuzzer
from support.fuzz.mutations import Mutated, mutated
from support.fuzz.reading import reading
from support.fuzz.verdicts import Original, judge, original
from support.soak import examples

from ingestion.types import Chunk, Parsed, ReadWarning, Skipped

SEEDS = range(examples(5, 200))
MADE = made()
ZIPPED = {".docx", ".pptx", ".xlsx", ".epub", ".odt"}


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    return asyncio.run(found(tmp_path_factory.mktemp("fuzz")))


@pytest.mark.parametrize("name", MADE)
def test_a_seed_makes_the_same_damage_again(name: str) -> None:
    suffix = Path(name).suffix
    for seed in SEEDS:
        first, second = (mutated(MADE[name], suffix, seed=seed, others=[b"other"]) for _ in range(2))
        assert first.what == second.what
        assert suffix in ZIPPED or first.data == second.data  # an archive's members have the time


async def found(folder: Path) -> list[dict[str, object]]:
    async with reading(seconds=60) as parser:
        fuzzer = Fuzzer(MADE, parser=parser, folder=folder)
        for name in MADE:
            for seed in SEEDS:
                await fuzzer.case(name, seed=seed)
    assert sum(fuzzer.report.tried.values()) == len(MADE) * len(SEEDS)
    return fuzzer.report.found


def test_damaged_files_neither_crash_nor_block_the_reading_process(findings: list[dict[str, object]]) -> None:
    assert [line for line in findings if line["kind"] in ENDING] == []


def test_damaged_files_are_refused_or_read_with_a_warning(findings: list[dict[str, object]]) -> None:
    assert findings == []


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("the reader crashed on it", "crash"),
        ("the reader failed on it (KeyError)", "exception"),
        ("reading it took longer than 10 seconds", "time"),
        ("reading it took more than 2048 MiB of memory", "memory"),
    ],
)
def test_a_reader_that_fails_is_found(reason: str, kind: str) -> None:
    finding = judge(Skipped(Path("a.pdf"), reason), mutated=Mutated(b"", ""), original=Original(frozenset()))
    assert finding is not None
    assert finding.kind == kind


def test_a_file_that_is_refused_for_what_it_is_is_no_finding() -> None:
    skipped = Skipped(Path("a.pdf"), "a damaged PDF")
    assert judge(skipped, mutated=Mutated(b"", ""), original=Original(frozenset({"word"}))) is None


def test_words_that_the_damage_left_alone_must_come_out_or_be_warned_of() -> None:
    before = original(parsed("granite basalt"))
    changed = Mutated(b"", "", kept=frozenset({"basalt", "metadata"}))
    assert judge(parsed("granite basalt"), mutated=changed, original=before) is None
    lost = judge(parsed("granite"), mutated=changed, original=before)
    assert lost is not None
    assert (lost.kind, "basalt" in lost.detail) == ("silent loss", True)
    said = parsed("granite", warning=ReadWarning("part-unreadable", "a part is damaged"))
    assert judge(said, mutated=changed, original=before) is None


def test_damage_to_one_page_may_lose_that_page_alone() -> None:
    before = original(parsed("granite", "basalt", "marble"))
    changed = Mutated(b"", "", pages=True)
    assert judge(parsed("granite", "marble"), mutated=changed, original=before) is None
    lost = judge(parsed("marble"), mutated=changed, original=before)
    assert lost is not None
    assert lost.detail == "all of pages [1, 2]"


class Failing:
    """Reads originals, and fails on all else."""

    async def parse(self, path: Path) -> Parsed | Skipped:
        return parsed("granite") if path.stem == "original" else Skipped(path, "the reader crashed on it")


def test_a_run_ends_in_time_and_keeps_findings_with_the_seed_that_makes_them_again(tmp_path: Path) -> None:
    fuzzer = Fuzzer({"a.md": b"granite\nbasalt\n"}, parser=Failing(), folder=tmp_path)
    before = time.monotonic()
    report = asyncio.run(fuzzer.run(seconds=0.2, seed=3))
    assert time.monotonic() - before < 10
    assert report.refused[".md"] == report.tried[".md"] > 1
    assert [line["seed"] for line in report.found] == [3, 4, 5, 6, 7]  # no more that are alike
    assert [json.loads(line) for line in (tmp_path / "findings.jsonl").read_text().splitlines()] == report.found
    for line, seed in zip(report.found, (3, 4, 5, 6, 7), strict=True):
        assert Path(str(line["saved"])).read_bytes() == fuzzer.make("a.md", seed=seed).data


def parsed(*pages: str, warning: ReadWarning | None = None) -> Parsed:
    chunks = [Chunk(index=number, text=page, start=0, end=0, page=number + 1) for number, page in enumerate(pages)]
    return Parsed(
        path=Path("a.pdf"),
        title="a",
        text_length=9,
        metadata={},
        chunks=tuple(chunks),
        content_hash="",
        size=9,
        pages=tuple(range(len(pages))),
        warnings=(warning,) if warning else (),
    )
