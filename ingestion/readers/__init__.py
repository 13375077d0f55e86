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
    "markdown": ("text.markdown", "read_markdown"),
    "plain": ("text.plain", "read_plain"),
    "rst": ("text.restructured", "read_rst"),
    "source": ("text.source", "read_source"),
    "html": ("html.reader", "read_html"),
    "pdf": ("pdf.reader", "read_pdf"),
    "docx": ("word.reader", "read_docx"),
    "pptx": ("slides.reader", "read_pptx"),
    "xlsx": ("sheets.reader", "read_xlsx"),
    "csv": ("sheets.separated_values", "read_csv"),
    "odt": ("opendocument.text", "read_odt"),
    "ods": ("opendocument.sheets", "read_ods"),
    "odp": ("opendocument.slides", "read_odp"),
    "rtf": ("rtf.reader", "read_rtf"),
    "xls": ("sheets.old_excel", "read_xls"),
    "json": ("records.reader", "read_json"),
    "jsonl": ("records.reader", "read_jsonl"),
    "mail": ("mail.reader", "read_mail"),
    "image": ("pictures.reader", "read_picture_file"),
    "mailbox": ("mail.reader", "read_mailbox"),
    "msg": ("mail.outlook", "read_msg"),
    "epub": ("html.epub", "read_epub"),
    "notebook": ("text.notebook", "read_notebook"),
    "latex": ("text.latex", "read_latex"),
    "xml": ("text.xml", "read_xml"),
    "subtitles": ("text.subtitles", "read_subtitles"),
}


def read(path: PurePath, *, data: bytes, options: ReadOptions | None = None) -> Extracted:
    """Extract text from a file's bytes; only the name of `path` is used.

    Raises:
        Unreadable: it has no text, or none that can be extracted; the message says why.

    """
    if not data.strip(b" \t\r\n\f\v\0"):
        msg = "the file is empty"
        raise Unreadable(msg)
    options = options or ReadOptions()
    code = dict(options.readers).get(path.suffix.lower())
    if code is not None:
        from ingestion.readers.plugged_in import read_plugged_in

        extracted = read_plugged_in(path, data, code)
    else:
        extracted = _read(path, data, options)
    if not extracted.text.strip():
        msg = "there is no text in it"
        raise Unreadable(msg)
    return extracted


def _read(path: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    module, function = _READERS[kind_of(path, data=data)]
    reader: Callable[[PurePath, bytes, ReadOptions], Extracted] = getattr(
        import_module(f"ingestion.readers.{module}"), function
    )
    return reader(path, data, options)
