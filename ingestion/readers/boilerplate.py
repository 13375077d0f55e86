"""Headers and footers: lines that most pages or slides of a document repeat at the same place."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

_MIN_PAGES = 3
_MOST = 0.5  # of the pages
_NUMBER = re.compile(r"\d+")
_ONLY_NUMBER = re.compile(
    r"[-–—|·\s]*(?:p(?:age|\.)?|seite|s\.|página|pagina|slide|folie|str\.|blatt)?\s*#\s*(?:(?:of|/|von|de|sur|di|van)\s*#?\d*)?[-–—|·\s]*",
    re.IGNORECASE,
)
_EDGE = 4  # lines from the upper and from the lower edge of a page that may be boilerplate


class EdgeLine(NamedTuple):
    """A line of a page: its text, and where it stands, in whole points or other steps that compare as equal."""

    text: str
    place: int


def boilerplate(pages: Sequence[Sequence[EdgeLine]]) -> list[frozenset[int]]:
    """Return for each page the indexes of the lines to leave out.

    A line is boilerplate if most pages have it at the same place, apart from the page's number in it. Its first
    occurrence stays, so that no word is lost, unless the line is only the number of the page.

    Args:
        pages: the lines of each page, from the top.

    """
    if len(pages) < _MIN_PAGES:
        return [frozenset()] * len(pages)
    candidates = [_candidates(lines, number) for number, lines in enumerate(pages, 1)]
    counts = Counter(key for found in candidates for key in set(found.values()))
    repeated = {key for key, count in counts.items() if count >= max(_MIN_PAGES, _MOST * len(pages))}
    return _without_first(candidates, repeated)


_Key = tuple[str, int]


def _candidates(lines: Sequence[EdgeLine], number: int) -> dict[int, _Key]:
    """Return the lines at the edges in every form that they may have on other pages."""
    edges = {*range(min(_EDGE, len(lines))), *range(max(0, len(lines) - _EDGE), len(lines))}
    return {index: (_pattern(lines[index].text, number), lines[index].place) for index in edges}


def _pattern(text: str, number: int) -> str:
    """Return a line with the number of its page replaced by how far it is from counting the pages from 1."""
    found = _NUMBER.search(text)
    while found is not None:
        value = int(found.group()[:9])
        if abs(value - number) <= max(30, number):
            return f"{text[: found.start()]}#{value - number}#{text[found.end() :]}"
        found = _NUMBER.search(text, found.end())
    return text


def _without_first(candidates: Sequence[dict[int, _Key]], repeated: set[_Key]) -> list[frozenset[int]]:
    seen: dict[_Key, bool] = defaultdict(bool)
    left_out = []
    for found in candidates:
        page = set()
        for index, key in found.items():
            if key in repeated:
                if seen[key] or _is_number(key[0]):
                    page.add(index)
                seen[key] = True
        left_out.append(frozenset(page))
    return left_out


def _is_number(pattern: str) -> bool:
    return bool(_ONLY_NUMBER.fullmatch(re.sub(r"#-?\d+#", "#", pattern)))
