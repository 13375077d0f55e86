"""Damages files: bytes, lines, and halves of two files. `mutated` chooses by a seed."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from support.fuzz import archives
from support.fuzz.words import words

MAX_BYTES = 4 << 20
_GUESSED = re.compile(r"\w*\ufffd[\w\ufffd]*")
_STREAM = re.compile(rb"stream\r?\n(.*?)endstream", re.DOTALL)
LINED = {".md", ".txt", ".csv", ".tsv", ".jsonl", ".html", ".rst", ".srt", ".vtt"}
_MARKS = (
    b"\x00",
    b"\xff",
    b"<",
    b">",
    b"&",
    b'"',
    b"{",
    b"[",
    b"(",
    b"%",
    b"\\",
    b"---\n",
    b"```\n",
    b"99999999999",
)


@dataclass(frozen=True)
class Mutated:
    """A damaged file.

    Attributes:
        what: how it was damaged, in words.
        kept: words that the damage left alone; a reader that drops one of them must say something. Empty if unknown.
        pages: whether what is lost must be of one page only (or said).

    """

    data: bytes
    what: str
    kept: frozenset[str] = frozenset()
    pages: bool = False


def mutated(data: bytes, suffix: str, *, seed: int, others: Sequence[bytes]) -> Mutated:
    """Damage a file; the same seed does the same, among the same others."""
    choice = random.Random(seed)  # noqa: S311 (to be made again)
    ways: list[Callable[[bytes, random.Random], Mutated]] = [_flip, _flip, _insert, _truncate, _repeat]
    if others:
        other = choice.choice(others)
        ways.append(lambda data, choice: _splice(data, other, choice))
    if zipfile.is_zipfile(io.BytesIO(data)):
        ways += [_archive] * 14
    if suffix in LINED:
        ways += [_lines] * 6
    if suffix == ".pdf":
        ways += [_in_stream] * 5
    return choice.choice(ways)(data, choice)


def _flip(data: bytes, choice: random.Random) -> Mutated:
    changed = bytearray(data)
    places = [choice.randrange(len(data)) for _ in range(choice.choice([1, 1, 3, 20]))]
    for place in places:
        changed[place] ^= 1 << choice.randrange(8)
    return Mutated(bytes(changed), f"bits flipped at {places}")


def _insert(data: bytes, choice: random.Random) -> Mutated:
    place, mark = choice.randrange(len(data) + 1), choice.choice(_MARKS) * choice.choice([1, 1, 50, 3000])
    return Mutated(data[:place] + mark + data[place:], f"{len(mark)} bytes, {mark[:4]!r}…, put in at {place}")


def _truncate(data: bytes, choice: random.Random) -> Mutated:
    end = choice.randrange(len(data))
    return Mutated(data[:end], f"cut off at {end} of {len(data)}", pages=data.startswith(b"%PDF"))


def _repeat(data: bytes, choice: random.Random) -> Mutated:
    start = choice.randrange(len(data))
    piece = data[start : start + choice.choice([10, 200, 5000])]
    times = min(choice.choice([1, 3, 300]), MAX_BYTES // max(1, len(piece)))
    return Mutated(data[:start] + piece * times + data[start:], f"{len(piece)} bytes at {start} put in {times} times")


def _splice(data: bytes, other: bytes, choice: random.Random) -> Mutated:
    first, second = choice.randrange(len(data)), choice.randrange(len(other))
    return Mutated(data[:first] + other[second:], f"its first {first} bytes, then another file from {second} on")


def _archive(data: bytes, choice: random.Random) -> Mutated:
    changed, what, kept = archives.mutated(data, choice)
    return Mutated(changed, what, kept)


def _in_stream(data: bytes, choice: random.Random) -> Mutated:
    """Damage one stream of a PDF; where streams are pages' contents, the other pages stay."""
    streams = [match.span(1) for match in _STREAM.finditer(data) if match.end(1) > match.start(1)]
    if not streams:
        return _flip(data, choice)
    start, end = choice.choice(streams)
    changed = bytearray(data)
    for _ in range(choice.choice([1, 5, 40])):
        changed[choice.randrange(start, end)] = choice.randrange(256)
    return Mutated(bytes(changed), f"bytes changed in the stream at {start}", pages=True)


def _lines(data: bytes, choice: random.Random) -> Mutated:
    """Delete, double or swap lines, or put noise between them: the words of all other lines stay."""
    lines = data.splitlines(keepends=True)
    place = choice.randrange(len(lines))
    line = lines[place]
    what, new = choice.choice([
        ("deleted", [b""]),
        ("doubled", [line, line]),
        ("halved", [line[: len(line) // 2] + b"\n"]),
        ("replaced by noise", [choice.choice(_MARKS) * choice.choice([1, 3, 100]) + b"\n"]),
    ])  # fmt: skip
    rest = [*lines[:place], *lines[place + 1 :]]
    said = _words(b"".join(rest)) - _words(line)
    return Mutated(b"".join([*lines[:place], *new, *lines[place + 1 :]]), f"line {place + 1} {what}", said)


def _words(data: bytes) -> frozenset[str]:
    """Return the words that are ASCII or UTF-8; others are for the reader to guess."""
    return words(_GUESSED.sub("", data.decode(errors="replace")))
