"""HTML: the content of a page as Markdown, without its navigation.

The tree is walked here rather than by a converter: html-to-markdown, which did it before, glues the lines of code that
end in ``<br>``, knows no merged cells and drops what raised and lowered text means; trafilatura takes 30 to 130 ms for
a large page of the PostgreSQL manual, drops every ``<h2>`` and ``<h3>`` of a DocBook page and ends a code block at the
first ``<em>`` inside it.
"""

from __future__ import annotations

import re
from pathlib import PurePath

from ingestion.readers.cleaning import name_as_title, one_line
from ingestion.readers.encodings.decoding import Decoded, decode
from ingestion.readers.html.pictures import Finds, read_pictures
from ingestion.readers.pictures.within import PicturesWithin
from ingestion.types import Extracted, Heading, ReadOptions

_CHARSET = re.compile(
    rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([\w.:-]{1,40})|<\?xml[^>]{0,100}encoding=[\"']([\w.-]{1,40})",
    re.IGNORECASE,
)


def read_html(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a page; its title is that of its ``<title>``, else its first heading."""
    decoded = decode_page(data, language=options.language)
    pictures = PicturesWithin(options)
    text, title, headings = content_of(decoded.text, pictures=pictures)
    outermost = min(headings, key=lambda heading: heading.level, default=None)
    title = title or (outermost.text if outermost else "") or name_as_title(name)
    return Extracted(text, title=title, headings=headings, warnings=(*decoded.warnings, *pictures.said()))


def decode_page(data: bytes, *, language: str = "simple") -> Decoded:
    """Decode a page, whose encoding its first 2048 bytes may name."""
    named = _CHARSET.search(data[:2048])
    label = (named[1] or named[2]).decode("ascii", "ignore") if named else ""
    return decode(data, declared="utf-8" if label.lower().startswith("utf-16") else label, language=language)


def content_of(
    page: str, *, pictures: PicturesWithin | None = None, find: Finds | None = None
) -> tuple[str, str, tuple[Heading, ...]]:
    """Return the page's content as cleaned Markdown, its title, which may be empty, and its headings.

    Args:
        page: decoded.
        pictures: reads or counts those of the content.
        find: returns the bytes of a picture that belongs to the page, by its address.

    Raises:
        Unreadable: the page cannot be parsed.

    """
    from ingestion.readers.html.surroundings import remove_surroundings
    from ingestion.readers.html.tree import parse
    from ingestion.readers.html.walk import blocks_of, written

    root = parse(page)
    title = one_line(root.findtext(".//head/title") or root.findtext("./body/title") or "")
    content = remove_surroundings(root)
    if pictures is not None:
        read_pictures(content, pictures, find=find)
    text, headings = written(blocks_of(content))
    return text, title, headings
