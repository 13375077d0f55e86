"""The tables of a run: a format, a tool a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import table
from benchmarks.readers.asking import Answer
from benchmarks.readers.field import EXPECTED
from benchmarks.readers.scores import (
    agreed,
    joined,
    share_of_cells,
    share_of_neighbours,
    share_of_pages,
    share_of_words,
    words,
)
from benchmarks.readers.tools import family, tagged_text
from benchmarks.readers.truth import Truth

HEAD = ("", "words, made", "neighbours", "cells", "pages", "words, real", "lacks alone", "field", "failed", "ms", "MB")
NOTHING = ""
RECORDS = {"csv", "xlsx"}  # their rows may be told with the names of their columns between the values


@dataclass(frozen=True)
class Asked:
    """A file, what is known of it, and what the tools made of it."""

    path: Path
    answers: Mapping[str, Answer]
    truth: Truth | None = None

    @property
    def kind(self) -> str:
        """Return the format's name."""
        return self.path.suffix[1:]


def report(made: Sequence[Asked], real: Sequence[Asked], field: Sequence[Asked], pages: Mapping[Path, int]) -> str:
    """Return a table for each format, and where Footnote falls short."""
    kinds = sorted({asked.kind for asked in [*made, *real, *field]})
    parts = [
        f"### {kind}\n\n{table(HEAD, _rows(*(_of(kind, files) for files in (made, real, field)), pages=pages))}"
        for kind in kinds
    ]
    short = list(_short(made, real, field))
    return "\n\n".join(
        [*parts, "### Where Footnote falls short\n\n" + table(["file", "what", "Footnote", "best other"], short)]
    )


def _of(kind: str, files: Sequence[Asked]) -> list[Asked]:
    return [asked for asked in files if asked.kind == kind]


def _rows(
    made: list[Asked], real: list[Asked], field: list[Asked], *, pages: Mapping[Path, int]
) -> Iterator[list[object]]:
    for tool in dict.fromkeys(tool for asked in [*made, *real, *field] for tool in asked.answers):
        answers = [asked.answers[tool] for asked in [*made, *real, *field] if tool in asked.answers]
        passed = [_passed(asked, tool) for asked in field if tool in asked.answers]
        yield [
            tool,
            *(_mean(_made(asked, tool, what) for asked in made if tool in asked.answers) for what in MEASURES),
            _mean(_real(asked, tool) for asked in real),
            sum(_lacks_alone(asked, tool) for asked in real) if real else NOTHING,
            f"{sum(passed)}/{len(passed)}" if passed else NOTHING,
            sum(bool(answer.failed) for answer in answers),
            _milliseconds([*made, *real], tool, pages),
            f"{max(answer.megabytes for answer in answers):.0f}",
        ]


MEASURES = ("words", "neighbours", "cells", "pages")


def _made(asked: Asked, tool: str, what: str) -> float | None:
    """Return a share of a made document's truth; None where the truth says nothing of it."""
    truth, answer = asked.truth or Truth(), asked.answers[tool]
    if what == "cells":
        return share_of_cells(truth.cells, answer.text) if truth.cells else None
    if what == "pages":
        return share_of_pages(truth.pages, answer.texts) if truth.pages and len(answer.texts) != 1 else None
    if not truth.words or (what == "neighbours" and asked.kind in RECORDS):
        return None
    wanted, found = words(truth.words), words(answer.text)
    return share_of_words(Counter(wanted), found) if what == "words" else share_of_neighbours(wanted, found)


def _real(asked: Asked, tool: str) -> float | None:
    """Return the share of what the page's tags hold, or of what two of the others agree on."""
    if tool not in asked.answers or (asked.kind == "html" and tool == "tags stripped"):
        return None
    wanted = _reference(asked, tool)
    return share_of_words(wanted, joined(asked.answers[tool].text)) if wanted else None


def _reference(asked: Asked, tool: str) -> Mapping[str, int]:
    if asked.kind == "html":
        return Counter(joined(tagged_text(asked.path)))
    return agreed(_others(asked, tool))


def _others(asked: Asked, tool: str) -> list[Counter[str]]:
    """Return the words that the others find; tools over one library count once, and not for each other."""
    families: dict[str, Counter[str]] = {}
    for name, answer in asked.answers.items():
        if answer.texts and family(name) != family(tool):
            families[family(name)] = families.get(family(name), Counter()) | Counter(joined(answer.text))
    return list(families.values())


def _lacks_alone(asked: Asked, tool: str) -> int:
    """Return how many words all others have more often than this tool."""
    others = _others(asked, tool)
    if tool not in asked.answers or len(others) < 2:  # one other may be wrong
        return 0
    own = Counter(joined(asked.answers[tool].text))
    return sum(max(0, min(count[word] for count in others) - own[word]) for word in others[0])


def _passed(asked: Asked, tool: str) -> bool:
    answer = asked.answers[tool]
    return bool(answer.texts) and EXPECTED[asked.path.name].is_met(answer.texts)


def _milliseconds(files: Sequence[Asked], tool: str, pages: Mapping[Path, int]) -> str:
    """Return the time a page, where the format has pages, else a file."""
    read = [asked for asked in files if tool in asked.answers and asked.answers[tool].texts]
    seconds = sum(asked.answers[tool].seconds for asked in read)
    return f"{1000 * seconds / max(1, sum(pages.get(asked.path, 1) for asked in read)):.1f}" if read else NOTHING


def _short(made: Sequence[Asked], real: Sequence[Asked], field: Sequence[Asked]) -> Iterator[list[object]]:
    for asked in made:
        for what in MEASURES:
            yield from _beside(asked, what, {tool: _made(asked, tool, what) for tool in asked.answers})
    for asked in real:
        yield from _beside(asked, "words", {tool: _real(asked, tool) for tool in asked.answers})
    for asked in field:
        if not _passed(asked, "Footnote"):
            right = [tool for tool in asked.answers if tool != "Footnote" and _passed(asked, tool)]
            yield [
                asked.path.name,
                "expected text",
                asked.answers["Footnote"].failed or "wrong",
                ", ".join(right) or "none",
            ]


def _beside(asked: Asked, what: str, shares: Mapping[str, float | None]) -> Iterator[list[object]]:
    ours = shares.get("Footnote")
    others = {tool: share for tool, share in shares.items() if share is not None and tool != "Footnote"}
    if ours is None or not others:
        return
    best = max(others, key=lambda tool: others[tool])
    if ours < 0.9995 and (asked.truth or ours < others[best]):  # shown as 100.0
        yield [
            asked.path.name,
            what,
            asked.answers["Footnote"].failed or _percent(ours),
            f"{_percent(others[best])} ({best})",
        ]


def _mean(shares: Iterator[float | None]) -> str:
    there = [share for share in shares if share is not None]
    return _percent(sum(there) / len(there)) if there else NOTHING


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
