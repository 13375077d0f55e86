"""Markdown: headings come from a real parser, so that code fences are not mistaken for headings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePath

from markdown_it import MarkdownIt

from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.data_uris import cut_data
from ingestion.readers.encodings.decoding import decode
from ingestion.readers.text.front_matter import cut_front_matter
from ingestion.types import Extracted, Heading, Json, ReadOptions


def read_markdown(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read Markdown without its front matter, whose ``title`` takes precedence over the first heading."""
    decoded = decode(data, language=options.language)
    front, text = cut_front_matter(clean(decoded.text))
    text, cut = cut_data(text)
    title = one_line(front.metadata.get("title") or "")
    extracted = from_markdown(text, title=title, name=name, metadata=front.metadata)
    return replace(extracted, warnings=(*decoded.warnings, *front.warnings, *cut))


def from_markdown(text: str, *, title: str, name: PurePath, metadata: dict[str, Json] | None = None) -> Extracted:
    """Find the headings of a cleaned Markdown text; an empty title becomes the first heading, else the file's name."""
    headings = tuple(_headings(text))
    outermost = min(headings, key=lambda heading: heading.level, default=None)
    title = title or (outermost.text if outermost else "") or name_as_title(name)
    return Extracted(text, title=title, metadata=metadata or {}, headings=headings)


def _headings(text: str) -> Iterator[Heading]:
    blocks = MarkdownIt("commonmark").disable("inline")
    inline = MarkdownIt("commonmark")
    starts = _line_starts(text)
    tokens = blocks.parse(text)
    for opening, content in pairwise(tokens):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            parts = inline.parseInline(content.content)[0].children or []
            heading = one_line(" ".join("".join(part.content or " " for part in parts).split()), limit=200)
            if heading:
                yield Heading(starts[opening.map[0]], int(opening.tag[1:]), heading)


def _line_starts(text: str) -> list[int]:
    starts, at = [0], text.find("\n")
    while at >= 0:
        starts.append(at + 1)
        at = text.find("\n", at + 1)
    return starts
