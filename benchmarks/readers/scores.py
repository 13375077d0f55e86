"""How much of a text a tool has found: words, neighbouring words, cells beside their header, pages."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise

from benchmarks.readers.truth import Cell

_WORD = re.compile(r"\w+(?:[.,:/'\u2019-]\w+)*")
_ESCAPE = re.compile(r"\\([\\`*_{}\[\]()#+.!|<>~-])")
_EMPHASIS = re.compile(r"\*\*|__|(?<!\w)[*_]|[*_](?!\w)")
_DIVIDED = re.compile(r"(?<=\w)[-\u2010\ufffe][ \t]*\r?\n\s*(?=\w)")
_RULE = re.compile(r"[\s|:-]+")


def words(text: str) -> list[str]:
    """Return the words of a text, the same for a letter however it is coded, without Markdown's marks."""
    text = unicodedata.normalize("NFKC", text).replace("\u00ad", "").casefold()
    return _WORD.findall(_EMPHASIS.sub("", _ESCAPE.sub(r"\1", text)))


def joined(text: str) -> list[str]:
    """Return the words without hyphens, those divided at a line's end as one: tools may differ in these."""
    return [word.replace("-", "") for word in words(_DIVIDED.sub("", text))]


def share_of_words(wanted: Mapping[str, int], found: Sequence[str]) -> float:
    """Return the share of the words that were found, each as often as it is there."""
    there = Counter(found)
    return sum(min(count, there[word]) for word, count in wanted.items()) / max(1, sum(wanted.values()))


def share_of_neighbours(wanted: Sequence[str], found: Sequence[str]) -> float:
    """Return the share of the pairs of neighbouring words that are neighbours in what was found."""
    pairs = Counter(pairwise(wanted))
    there = Counter(pairwise(found))
    return sum(min(count, there[pair]) for pair, count in pairs.items()) / max(1, len(wanted) - 1)


def share_of_cells(cells: Sequence[Cell], text: str) -> float:
    """Return the share of the cells that a reader of any one row can tell the column of.

    A cell is right if a line begins ``header: value``, or if its value stands in a row of a Markdown table at the place
    of its header in the table's first row.
    """
    lines = _ESCAPE.sub(r"\1", unicodedata.normalize("NFKC", text)).splitlines()
    told = _records(lines) | _tables(lines)
    return sum((cell.header, cell.value) in told for cell in cells) / max(1, len(cells))


def share_of_pages(markers: Sequence[str], texts: Sequence[str]) -> float:
    """Return the share of the pages on which their marker is, and on no other."""
    flat = [" ".join(words(text)) for text in texts]
    wanted = [" ".join(words(marker)[:3]) for marker in markers]
    return sum(
        [number for number, text in enumerate(flat) if marker in text] == [page] for page, marker in enumerate(wanted)
    ) / max(1, len(wanted))


def agreed(counts: Sequence[Mapping[str, int]]) -> Counter[str]:
    """Return the words that at least two texts have, each as often as most of them have it; nothing of one text."""
    every = {word for count in counts for word in count}
    found = {word: sorted((count.get(word, 0) for count in counts), reverse=True) for word in every}
    return Counter({word: max(1, each[len(each) // 2]) for word, each in found.items() if len(each) > 1 and each[1]})


def _records(lines: Sequence[str]) -> set[tuple[str, str]]:
    parts = (line.lstrip("-* ").partition(": ") for line in lines)
    return {(name.strip(), value.strip()) for name, colon, value in parts if colon}


def _tables(lines: Sequence[str]) -> set[tuple[str, str]]:
    """Return header and value of every cell; a block's first row that is not empty is its header."""
    told: set[tuple[str, str]] = set()
    header: list[str] = []
    for line in lines:
        cells = _split(line)
        if not cells:
            header = []
        elif _RULE.fullmatch(line):
            continue
        elif not header:
            header = cells
        else:
            told |= set(zip(header, cells, strict=False))
    return told


def _split(line: str) -> list[str]:
    line = line.strip()
    if not line.startswith("|"):
        return []
    return [_EMPHASIS.sub("", cell).strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
