"""Word and PowerPoint, with markitdown's converters; macros are never run."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import PurePath

from ingestion.readers.cleaning import clean, name_as_title, one_line
from ingestion.readers.markdown import from_markdown
from ingestion.readers.ooxml import check_unpacked_size
from ingestion.types import Extracted, Heading, ReadOptions

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
