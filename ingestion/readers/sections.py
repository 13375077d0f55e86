"""Parts of a document that come from elsewhere, joined to one text with their headings moved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ingestion.types import Heading, ReadWarning

MAX_LEVEL = 6


@dataclass(frozen=True, slots=True)
class Section:
    """A text with its headings, whose offsets count from its start."""

    text: str
    headings: tuple[Heading, ...] = ()


def joined(sections: Sequence[Section]) -> Section:
    """Return the sections below each other, an empty line between them; empty ones are left out."""
    texts: list[str] = []
    headings: list[Heading] = []
    length = 0
    for section in sections:
        text = section.text.rstrip("\n")
        if not text.strip():
            continue
        headings += [replace(heading, offset=heading.offset + length) for heading in section.headings]
        texts.append(text)
        length += len(text) + 2
    return Section("\n\n".join(texts), tuple(headings))


def headed(name: str, section: Section, *, level: int = 1) -> Section:
    """Return the section below a heading of its own, its headings one level or more further in."""
    head = f"{'#' * level} {name}"
    deeper = [replace(heading, level=min(heading.level + level, MAX_LEVEL)) for heading in section.headings]
    return joined([Section(head, (Heading(0, level, name[:200]),)), replace(section, headings=tuple(deeper))])


def counted(number: int, one: str, many: str) -> str:
    """Return ``1 file is`` or ``3 files are`` for ``file is`` and ``files are``."""
    return f"{number} {one if number == 1 else many}"


def merged(warnings: Sequence[ReadWarning]) -> tuple[ReadWarning, ...]:
    """Return the warnings, each once."""
    return tuple(dict.fromkeys(warnings))
