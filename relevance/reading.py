"""Reading golden questions from JSON Lines; strict, since files are written by hand and by other programs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from relevance.errors import InvalidGolden
from relevance.golden import GoldenQuestion
from relevance.lines import InvalidLine, is_feedback, parse_feedback, parse_members, parse_question

MAX_QUESTIONS = 100_000
MAX_LINE_BYTES = 1_000_000
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class GoldenSet:
    """The questions of a file.

    Attributes:
        digest: SHA-256 of the file, in hex.
        skipped: lines of a feedback export that tell nothing, or repeat a question.

    """

    file: str
    digest: str
    questions: tuple[GoldenQuestion, ...]
    skipped: int = 0


def read_golden(path: Path) -> GoldenSet:
    """Read golden questions, a JSON object a line, or what ``python -m storage export-feedback`` printed.

    Of an export, only answers rated good count: the documents that they cite are the right ones.

    Raises:
        InvalidGolden: the file cannot be read, a line is not a golden question, a question occurs twice, or there
            is none.

    """
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except OSError as exc:
        msg = f"{path}: it cannot be read ({exc.strerror or type(exc).__name__})"
        raise InvalidGolden(msg) from exc


def parse_golden(data: bytes, *, name: str) -> GoldenSet:
    """Read golden questions from the bytes of a file, as `read_golden` does; `name` is for messages.

    Raises:
        InvalidGolden: as there.

    """
    return _read(io.BytesIO(data), Path(name))


def _read(file: BinaryIO, path: Path) -> GoldenSet:
    digest = hashlib.sha256()
    kept, skipped = _Kept(path), 0
    for number, line in _lines(file, path):
        digest.update(line)
        try:
            text = line.removeprefix(BOM if number == 1 else b"").decode("utf-8").strip()
            if not text:
                continue
            members = parse_members(text)
            if is_feedback(members):
                golden = parse_feedback(members)
                skipped += not (golden and kept.add(golden, number, may_repeat=True))
            else:
                kept.add(parse_question(members), number)
        except UnicodeDecodeError as exc:
            msg = f"{path}, line {number}: it cannot be read as UTF-8 text"
            raise InvalidGolden(msg) from exc
        except InvalidLine as exc:
            msg = f"{path}, line {number}: {exc}"
            raise InvalidGolden(msg) from None
    return GoldenSet(path.name, digest.hexdigest(), kept.questions(skipped), skipped)


class _Kept:
    """The questions read so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._questions: list[GoldenQuestion] = []
        self._lines: dict[tuple[str, str], int] = {}

    def add(self, golden: GoldenQuestion, number: int, *, may_repeat: bool = False) -> bool:
        """Keep a question; tell whether it is new."""
        for what, name in (("the question", golden.asked), ("the id", golden.key)):
            first = self._lines.setdefault((what, name), number)
            if first != number and may_repeat:
                return False
            if first != number:
                msg = f"{self._path}, line {number}: {what} stands in line {first} already; each once is wanted"
                raise InvalidGolden(msg)
        self._questions.append(replace(golden, line=number))
        return True

    def questions(self, skipped: int) -> tuple[GoldenQuestion, ...]:
        """Return all of them."""
        count = len(self._questions)
        if not 1 <= count <= MAX_QUESTIONS:
            more = f" ({skipped} lines of feedback tell nothing of what is right)" if skipped else ""
            msg = f"{self._path}: it holds {count} questions{more}; 1 to {MAX_QUESTIONS} are wanted"
            raise InvalidGolden(msg)
        return tuple(self._questions)


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield numbered lines of bounded length."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            msg = f"{path}, line {number}: it is too long; {MAX_LINE_BYTES} bytes at most are wanted"
            raise InvalidGolden(msg)
        yield number, line
