"""Selects the reader of a file by its name and its first bytes; the bytes take precedence."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Container, Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Literal

from ingestion.errors import Unreadable
from ingestion.readers.ocr import engine as ocr
from ingestion.readers.office.kinds import COMPOUND, kind_of_compound, kind_of_opendocument

Kind = Literal[
    "markdown", "plain", "rst", "source", "html", "pdf", "docx", "pptx", "xlsx", "csv", "json", "jsonl", "mail",
    "image",
    "mailbox", "msg", "epub", "notebook", "latex", "xml", "subtitles",
    "odt", "ods", "odp", "rtf", "xls",
]  # fmt: skip

_SUFFIXES: Mapping[Kind, str] = {
    "markdown": "md markdown mdown mkd mdx",
    "plain": "txt text log adoc asciidoc org me 1st",
    "rst": "rst rest",
    "html": "html htm xhtml",
    "pdf": "pdf",
    "docx": "docx docm dotx dotm",
    "pptx": "pptx pptm ppsx ppsm potx potm",
    "xlsx": "xlsx xlsm xltx xltm",
    "csv": "csv tsv",
    "odt": "odt ott fodt",
    "ods": "ods ots fods",
    "odp": "odp otp fodp",
    "rtf": "rtf",
    "xls": "xls xlt",
    "json": "json geojson",
    "jsonl": "jsonl ndjson",
    "mail": "eml",
    "image": "png jpg jpeg tif tiff webp gif bmp",
    "mailbox": "mbox",
    "msg": "msg",
    "epub": "epub",
    "notebook": "ipynb",
    "latex": "tex latex ltx",
    "xml": "xml",
    "subtitles": "srt vtt",
    "source": "py pyi c h cc cpp cxx hpp hh cs java kt kts scala go rs rb php pl pm lua r jl swift m mm js mjs "
    "cjs jsx ts tsx vue svelte css scss less sql sh bash zsh fish ps1 bat awk hs ml mli ex exs erl "
    "clj cljs lisp el scm dart zig nim f90 f95 pas vb asm s proto graphql thrift tf hcl nix toml "
    "yaml yml ini cfg conf properties env xsd xsl cmake mk gradle groovy diff patch ",
}
KIND_OF_SUFFIX: Mapping[str, Kind] = MappingProxyType(
    {f".{suffix}": kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
)

TEXTS: frozenset[Kind] = frozenset(
    ("markdown", "plain", "rst", "html", "csv", "json", "jsonl", "notebook", "latex", "xml", "subtitles", "source")
)
_UNREADABLE_SUFFIXES = {
    "an image of a kind that is not read": "ico heic avif svg psd",
    "audio or video, which is not read": "mp3 wav flac ogg m4a aac mp4 mkv mov avi webm wmv",
    "an archive; unpack it first": "zip tar gz tgz bz2 xz zst 7z rar jar war whl deb rpm iso dmg",
    "a program or its data": "exe dll so dylib o a obj lib bin class pyc pyo wasm db sqlite sqlite3 pack idx dat",
    "an old Word file; save it as .docx": "doc dot",
    "an old PowerPoint file; save it as .pptx": "ppt pps pot",
    "an Excel file in its binary form; save it as .xlsx": "xlsb",
    "a font": "ttf otf woff woff2 eot",
}
_REASON_OF_SUFFIX = {
    f".{suffix}": reason for reason, suffixes in _UNREADABLE_SUFFIXES.items() for suffix in suffixes.split()
}

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x7fELF", "a program"),
    (b"MZ\x90\x00", "a program"),
    (b"\xcf\xfa\xed\xfe", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\x00asm", "a program"),
    (b"\x1f\x8b", "an archive; unpack it first"),
    (b"BZh", "an archive; unpack it first"),
    (b"\xfd7zXZ\x00", "an archive; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "an archive; unpack it first"),
    (b"Rar!\x1a\x07", "an archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "an archive; unpack it first"),
    (b"SQLite format 3\x00", "a database"),
)
_IMAGES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
)
_MARKS: tuple[tuple[tuple[bytes, ...], Kind], ...] = ((_IMAGES, "image"), ((b"{\\rtf",), "rtf"))
_OFFICE_FOLDERS: tuple[tuple[str, Kind], ...] = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"))
_MAIN_PARTS: Mapping[Kind, str] = {"docx": "document.xml", "pptx": "presentation.xml", "xlsx": "workbook.xml"}
_BINARY_KINDS: Mapping[Kind, str] = {
    "pdf": "a PDF", "docx": "a Word", "pptx": "a PowerPoint", "xlsx": "an Excel", "rtf": "an RTF", "xls": "an Excel",
    "msg": "an Outlook", "epub": "an EPUB",
}  # fmt: skip
_HEAD = 8192
_MAILS = frozenset(("mail", "mailbox"))
_LETTER = re.compile(  # a mail as text, which other programs name as Outlook does
    rb"(?:\xef\xbb\xbf)?\s*(?:From [^\n]*\n)?(?:[!-9;-~]{1,80}:[^\n]*\n(?:[ \t][^\n]*\n)*){0,100}?"
    rb"(?:From|Date|Subject|Received|Message-ID|Return-Path|MIME-Version):",
    re.IGNORECASE,
)
_OUTLOOK_PARTS = "__properties_version1.0".encode("utf-16-le")


def refusal(name: PurePath, *, plugged_in: Container[str] = ()) -> str | None:
    """Return why no reader supports a file of this name; None if one may. A name without a suffix is never refused.

    `plugged_in` are suffixes that plug-ins read.
    """
    suffix = _suffix(name)
    if suffix in plugged_in:
        return None
    if KIND_OF_SUFFIX.get(suffix) == "image":
        return None if ocr.available() else f"an image; {ocr.INSTALL}"
    if not suffix or suffix in KIND_OF_SUFFIX:
        return None
    return _REASON_OF_SUFFIX.get(suffix) or f"there is no reader for {_shown(suffix)} files"


def kind_of(name: PurePath, *, data: bytes) -> Kind:
    """Return the kind of the bytes, or of the name if the bytes do not tell.

    Raises:
        Unreadable: no reader supports the bytes, or they contradict the name.

    """
    reason = refusal(name)
    found = _kind_of_bytes(name, data)
    if found is not None:
        return found
    if reason is not None:
        raise Unreadable(reason)
    named = KIND_OF_SUFFIX.get(_suffix(name), "plain")
    if named == "image":
        return _image(data)
    if named in _BINARY_KINDS:
        if named == "msg" and _LETTER.match(data[:_HEAD]):
            return "mail"
        msg = f"not {_BINARY_KINDS[named]} file, though it is named so"
        raise Unreadable(msg)
    if named == "plain" and data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html")):
        return "html"
    return named


def _image(data: bytes) -> Kind:
    """Tell a BMP or WebP by its name and bytes: ``BM`` or ``RIFF`` alone may begin something else."""
    if data.startswith(b"BM") or (data.startswith(b"RIFF") and data[8:12] == b"WEBP"):
        return "image"
    msg = "not an image of a kind that is read, though it is named so"
    raise Unreadable(msg)


def _kind_of_bytes(name: PurePath, data: bytes) -> Kind | None:
    if data.startswith(COMPOUND) and (_OUTLOOK_PARTS in data or _suffix(name) == ".msg"):
        return "msg"
    if data.startswith(COMPOUND):
        return kind_of_compound(data)
    if b"%PDF-" in data[:1024] and not (KIND_OF_SUFFIX.get(_suffix(name)) in _MAILS and _LETTER.match(data[:_HEAD])):
        return "pdf"
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _kind_of_zip(data)
    for marks, kind in _MARKS:
        if data.startswith(marks):
            return kind
    for magic, reason in _MAGIC:
        if data.startswith(magic):
            raise Unreadable(reason)
    return None


def _kind_of_zip(data: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = archive.namelist()
            opendocument = kind_of_opendocument(archive, names)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, zlib.error) as exc:
        msg = "a damaged archive or Office file"
        raise Unreadable(msg) from exc
    if ("META-INF/container.xml" in names or _is_named_epub(data)) and not any(
        name.startswith("word/") for name in names
    ):
        return "epub"
    if opendocument is not None:
        return opendocument
    for folder, kind in _OFFICE_FOLDERS:
        if f"{folder}{_MAIN_PARTS[kind]}" in names or (
            "[Content_Types].xml" in names and any(name.startswith(folder) for name in names)
        ):
            return kind
    msg = "an archive; unpack it first"
    raise Unreadable(msg)


def _is_named_epub(data: bytes) -> bool:
    """Tell whether the first entry of the archive says that it is a book (OCF 3.3, 4.3)."""
    return data[30:58] == b"mimetypeapplication/epub+zip"


def _suffix(name: PurePath) -> str:
    return name.suffix.lower()


def _shown(suffix: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in suffix[:20])
