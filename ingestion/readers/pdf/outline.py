"""What a PDF says of itself: title, bookmarks, names of its pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from ingestion.readers.cleaning import name_as_title, one_line
from ingestion.types import Heading

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_MAX_HEADINGS = 5000
_LONGEST_LABEL = 40
_NO_TITLE = re.compile(
    r"\W*(?:untitled|unbenannt|sans titre|sin t[ií]tulo|no title|title|titel|titre|anonymous|unknown|none|null|"
    r"powerpoint[ -]presentation|powerpoint[ -]präsentation|présentation powerpoint|presentación de powerpoint|"
    r"(?:document|dokument|doc|book|presentation|präsentation|folie|slide|mappe|page|layout|scan|img|image|print|test)\W*\d*)"
    r"(?:\W*\d*|\.\w{2,5})\W*",
    re.IGNORECASE,
)
_PROGRAM = re.compile(r"(?:microsoft|libreoffice|openoffice|adobe|mac)\b.{0,30} - ", re.IGNORECASE)
_FILE = re.compile(
    r".*\.(?:docx?|docm|dotx?|pptx?|xlsx?|rtf|odt|ods|odp|tex|dvi|ps|eps|indd|qxd|qxp|pdf|pub|pages|key|html?|txt|md|fm|"
    r"wpd|pmd|ai|psd|tiff?|png|jpe?g)",
    re.IGNORECASE,
)
_PATH = re.compile(r"(?:[a-z]:\\|\\\\|/|file:|https?:).*", re.IGNORECASE)


def title_of(document: PdfDocument, name: PurePath) -> str:
    """Return the document's title, or its name's where programs have put something else there."""
    title = one_line(document.get_metadata_dict().get("Title") or "")
    is_none = any(pattern.fullmatch(title) for pattern in (_NO_TITLE, _FILE, _PATH)) or _PROGRAM.match(title)
    return title if title and not is_none and any(map(str.isalnum, title)) else name_as_title(name)


def labels_of(document: PdfDocument) -> tuple[str, ...]:
    """Return what the pages are called; empty if by their numbers."""
    import pypdfium2.raw as pdfium

    if not pdfium.FPDF_GetPageLabel(document.raw, 0, None, 0):
        return ()
    labels = [one_line(document.get_page_label(index) or "", limit=_LONGEST_LABEL) for index in range(len(document))]
    labels = [label or str(number) for number, label in enumerate(labels, 1)]
    plain = all(label == str(number) for number, label in enumerate(labels, 1))
    return () if plain else tuple(labels)


def bookmarks_of(document: PdfDocument, text: str, pages: Sequence[int]) -> Iterator[Heading]:
    """Yield the bookmarks, each at its text on its page, else at the beginning of the page."""
    for count, bookmark in enumerate(document.get_toc(max_depth=6)):
        target = bookmark.get_dest()
        page = target.get_index() if target else None
        title = one_line(bookmark.get_title() or "", limit=200)
        if count >= _MAX_HEADINGS or page is None or not 0 <= page < len(pages) or not title:
            continue
        end = pages[page + 1] if page + 1 < len(pages) else len(text)
        yield Heading(_place(title, text, pages[page], end), bookmark.level + 1, title)


def _place(title: str, text: str, start: int, end: int) -> int:
    """Return where a heading stands: at the beginning of a line, on one or several; else anywhere; else the page."""
    words = r"\s+".join(re.escape(word) for word in title.split())
    page = text[start:end]
    numbered = re.compile(rf"^(?:[#\w.]{{1,12}}[ \t]+)?{words}[ \t.]*$", re.MULTILINE | re.IGNORECASE)
    found = numbered.search(page) or re.compile(rf"^{words}", re.MULTILINE).search(page) or re.search(words, page)
    return start + found.start() if found else start
