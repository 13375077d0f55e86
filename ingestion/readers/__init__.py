"""Readers: one module for each kind of file, selected by `kind_of`. Their libraries are imported when needed."""

from __future__ import annotations

from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING

from ingestion.errors import Unreadable
from ingestion.readers.kinds import Kind, kind_of
from ingestion.types import ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ingestion.types import Extracted

_READERS: Mapping[Kind, tuple[str, str]] = {
    "markdown": ("markdown", "read_markdown"),
    "plain": ("plain", "read_plain"),
    "rst": ("restructured", "read_rst"),
    "source": ("source", "read_source"),
    "html": ("webpage", "read_html"),
    "pdf": ("pdf", "read_pdf"),
    "docx": ("word", "read_docx"),
    "pptx": ("slides", "read_pptx"),
    "xlsx": ("spreadsheet", "read_xlsx"),
    "csv": ("tables", "read_csv"),
    "odt": ("opendocument", "read_odt"),
    "ods": ("opendocument_sheets", "read_ods"),
    "odp": ("opendocument_slides", "read_odp"),
    "rtf": ("rich_text", "read_rtf"),
    "xls": ("old_excel", "read_xls"),
    "json": ("records", "read_json"),
    "jsonl": ("records", "read_jsonl"),
    "mail": ("mail", "read_mail"),
    "image": ("pictures", "read_picture_file"),
    "mailbox": ("mail", "read_mailbox"),
    "msg": ("outlook", "read_msg"),
    "epub": ("epub", "read_epub"),
    "notebook": ("notebook", "read_notebook"),
    "latex": ("latex", "read_latex"),
    "xml": ("xml_text", "read_xml"),
    "subtitles": ("subtitles", "read_subtitles"),
}


def read(path: PurePath, *, data: bytes, options: ReadOptions | None = None) -> Extracted:
    """Extract text from a file's bytes; only the name of `path` is used.

    Raises:
        Unreadable: it has no text, or none that can be extracted; the message says why.

    """
    if not data.strip(b" \t\r\n\f\v\0"):
        msg = "the file is empty"
        raise Unreadable(msg)
    module, function = _READERS[kind_of(path, data=data)]
    reader: Callable[[PurePath, bytes, ReadOptions], Extracted] = getattr(
        import_module(f"ingestion.readers.{module}"), function
    )
    extracted = reader(path, data, options or ReadOptions())
    if not extracted.text.strip():
        msg = "there is no text in it"
        raise Unreadable(msg)
    return extracted
