"""What the benchmarks read: the PostgreSQL manual, and short documents and questions made from it."""

from __future__ import annotations

import re
from itertools import cycle, islice
from pathlib import Path

HOW_TO_GET_IT = (
    "The manual is Debian's package postgresql-doc-15:\n"
    "  apt-get download postgresql-doc-15 && dpkg -x postgresql-doc-15_*.deb manual\n"
    "  python -m benchmarks NAME --manual manual/usr/share/doc/postgresql-doc-15/html"
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


class ManualMissing(Exception):
    """The folder does not hold the manual's pages; the message says how to get them."""


def manual_pages(folder: Path | None, *, every: int = 1) -> list[Path]:
    """Return the manual's pages, or every n-th of them, by name.

    Raises:
        ManualMissing: there are none.

    """
    pages = sorted(folder.glob("*.html")) if folder else []
    if not pages:
        raise ManualMissing(HOW_TO_GET_IT)
    return pages[::every]


def page_text(page: Path) -> str:
    """Return a page's text as Footnote's reader extracts it."""
    from ingestion.readers import read

    return read(page, data=page.read_bytes()).text


def short_documents(pages: list[Path], *, count: int) -> list[str]:
    """Return paragraphs of 300 to 900 characters, at most three of a page, no two alike."""
    found: dict[str, None] = {}
    for page in pages:
        paragraphs = [" ".join(part.split()) for part in page_text(page).split("\n\n")]
        found.update(dict.fromkeys([text for text in paragraphs if 300 <= len(text) <= 900][:3]))
        if len(found) >= count:
            break
    return list(islice(found, count))


def questions(documents: list[str], *, count: int) -> list[str]:
    """Return distinct questions of eight to twelve words, each about something in a document."""
    made: dict[str, None] = {}
    for number, document in enumerate(islice(cycle(documents), 20 * count)):
        sentences = _SENTENCE_END.split(document)
        words = sentences[(number // len(documents)) % len(sentences)].split()
        begin = (3 * number) % max(1, len(words) - 6)
        made[f"What does the manual say about {' '.join(words[begin : begin + 6])}?"] = None
        if len(made) == count:
            break
    return list(made)
