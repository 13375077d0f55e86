"""RTF documents (Microsoft's Rich Text Format Specification 1.9.1), read control word by control word."""

from __future__ import annotations

from pathlib import PurePath

from ingestion.readers.assembly import Assembly, add_pieces
from ingestion.readers.cleaning import one_line
from ingestion.readers.rtf.document import RtfDocument
from ingestion.types import Extracted, ReadOptions


def read_rtf(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read an RTF document; headings come from its styles and outline levels."""
    assembly = Assembly()
    document = RtfDocument(hidden=options.hidden)
    document.read(data)
    for frame in document.frames:
        assembly.paragraph(frame)
    title = add_pieces(assembly, document.pieces)
    if document.pictures:
        count = document.pictures
        what = "1 picture is" if count == 1 else f"{count} pictures are"
        assembly.warn("picture-not-read", f"{what} not read.")
    if document.objects:
        assembly.warn("data-left-out", "A document that is embedded in it is not read.")
    if document.left_hidden:
        assembly.warn("hidden-left-out", "Text formatted as hidden is left out.")
    if document.unbalanced:
        assembly.warn("part-unreadable", "Its braces do not match, as if its end were missing.")
    return assembly.extracted(name, title=one_line(document.title) or title)
