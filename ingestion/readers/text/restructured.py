"""reStructuredText: the text as it stands, with its headings found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePath

from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.data_uris import cut_data
from ingestion.readers.encodings.decoding import decode
from ingestion.types import Extracted, Heading, ReadOptions

# a line over a line of at least its length, of one punctuation character; or between two such lines
_HEADING = re.compile(
    r"^(?:(?P<over>([!-/:-@\[-`{-~])\2{2,})[ \t]*\n[ \t]*(?P<both>\S[^\n]{0,299})\n(?P=over)[ \t]*$|"
    r"(?P<title>\S[^\n]{0,299})\n(?P<line>([!-/:-@\[-`{-~])\6{2,})[ \t]*$)",
    re.MULTILINE,
)
_ROLE = re.compile(
    r":[\w:.+-]{1,50}:`([^`<]*?)(?:\s*<[^`>]*>)?`|``([^`]+)``|`([^`<]+?)(?:\s*<[^`>]*>)?`__?|\*\*([^*]+)\*\*"
)


def read_rst(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read reStructuredText; the first style of underline is the outermost heading level."""
    decoded = decode(data, language=options.language)
    text, cut = cut_data(clean(decoded.text))
    headings = tuple(_headings(text))
    title = headings[0].text if headings else name_as_title(name)
    return Extracted(text, title=title, headings=headings, warnings=(*decoded.warnings, *cut))


def _headings(text: str) -> Iterator[Heading]:
    levels: dict[tuple[str, bool], int] = {}
    for match in _HEADING.finditer(text):
        title = (match["both"] or match["title"]).rstrip()
        line = match["over"] or match["line"]
        if len(line) < len(title) or set(title) <= set(line) or title.startswith((".. ", "+-", "=== ", "--- ", ">>>")):
            continue
        if not _starts_paragraph(text, match.start()):
            continue
        level = levels.setdefault((line[0], match["over"] is not None), len(levels) + 1)
        yield Heading(match.start(), level, one_line(_ROLE.sub(_shown, title), limit=200))


def _starts_paragraph(text: str, start: int) -> bool:
    """Tell whether the line before is empty, or a mark: what stands right below text is a table or a paragraph."""
    before = text[text.rfind("\n", 0, max(0, start - 1)) + 1 : max(0, start - 1)].strip() if start else ""
    return not before or before.startswith("..")


def _shown(role: re.Match[str]) -> str:
    return next(group for group in role.groups() if group is not None)
