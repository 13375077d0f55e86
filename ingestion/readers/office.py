"""Word and PowerPoint, with markitdown's converters; macros are never run."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePath

from ingestion.errors import Unreadable
from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.markdown import from_markdown
from ingestion.types import Extracted, Heading, ReadOptions

MAX_UNPACKED = 1 << 30
MAX_RATIO = 100  # real Office files reach 30
_RATIO_COUNTS_FROM = 20 << 20
_DUBLIN_CORE_TITLE = "{http://purl.org/dc/elements/1.1/}title"
_IMAGE = re.compile(r"!\[(?P<alt>[^\]\n]*)\]\([^)\n]*\)")
_SLIDE = re.compile(r"^<!-- Slide number: (\d+) -->$", re.MULTILINE)


def read_docx(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a Word document; headings come from its styles."""
    from markitdown import StreamInfo
    from markitdown.converters import DocxConverter

    check_unpacked_size(data)
    found = DocxConverter().convert(io.BytesIO(data), StreamInfo(extension=".docx"))  # type: ignore[no-untyped-call]
    text = clean(_IMAGE.sub(lambda image: image["alt"], found.markdown)).strip("\n")
    return from_markdown(text, title=document_title(data), name=name)


def read_pptx(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read a presentation; a slide is a page, its title a heading."""
    from markitdown import StreamInfo
    from markitdown.converters import PptxConverter

    check_unpacked_size(data)
    found = PptxConverter().convert(io.BytesIO(data), StreamInfo(extension=".pptx"))  # type: ignore[no-untyped-call]
    markdown = clean(_IMAGE.sub(lambda image: image["alt"], found.markdown))
    parts, pages, headings, length = [], [], [], 0
    for slide in _slides(markdown):
        pages.append(length)
        if slide.startswith("# "):
            heading = one_line(slide[2:].partition("\n")[0], limit=200)
            headings.append(Heading(length, 1, heading or f"Slide {len(pages)}"))
        parts.append(slide + "\n\n")
        length += len(parts[-1])
    title = document_title(data) or (headings[0].text if headings else name_as_title(name))
    return Extracted("".join(parts), title=title, headings=tuple(headings), pages=tuple(pages))


def check_unpacked_size(data: bytes) -> None:
    """Refuse a file that unpacks to far more than its size.

    Raises:
        Unreadable: it may be a zip bomb, it is encrypted, or damaged.

    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as exc:
        msg = "a damaged Office file"
        raise Unreadable(msg) from exc
    if any(entry.flag_bits & 1 for entry in entries):
        msg = "an encrypted Office file; remove its password first"
        raise Unreadable(msg)
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > MAX_UNPACKED or (unpacked > _RATIO_COUNTS_FROM and unpacked > MAX_RATIO * len(data)):
        msg = "an Office file that unpacks to many times its size, a zip bomb perhaps"
        raise Unreadable(msg)


def document_title(data: bytes) -> str:
    """Return the title in an Office file's properties, or an empty string."""
    from lxml import etree

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            properties = archive.read("docProps/core.xml")
        root = etree.fromstring(properties, etree.XMLParser(resolve_entities=False, no_network=True))
    except (KeyError, etree.XMLSyntaxError, zipfile.BadZipFile):
        return ""
    title = one_line(root.findtext(_DUBLIN_CORE_TITLE) or "") if root is not None else ""
    return "" if title in {"PowerPoint Presentation", "Word Document"} else title  # defaults of the programs


def _slides(markdown: str) -> list[str]:
    """Cut at the converter's slide markers, which count up; markers within a slide's text do not."""
    starts: list[tuple[int, int]] = []
    for marker in _SLIDE.finditer(markdown):
        if int(marker[1][:9]) == len(starts) + 1:
            starts.append(marker.span())
    ends = [start for start, _ in starts[1:]] + [len(markdown)]
    return [markdown[after:end].strip() for (_, after), end in zip(starts, ends, strict=True)]
