"""Safe file names for fetched pages, with a suffix that selects the reader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from urllib.parse import unquote

from ingestion.errors import FetchRefused
from ingestion.readers.kinds import KIND_OF_SUFFIX, refusal

_MAX_STEM_BYTES = 150
_UNSAFE = re.compile(r'[\\/:*?"<>|%\ufffd]|\s+')
_OPENDOCUMENT = "application/vnd.oasis.opendocument"
_OPENXML = "application/vnd.openxmlformats-officedocument"

_SUFFIX_OF_TYPE: Mapping[str, str] = MappingProxyType({
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/x-markdown": ".md",
    "text/x-rst": ".rst",
    "text/prs.fallenstein.rst": ".rst",
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/xml": ".xml",
    "application/xml": ".xml",
    "application/pdf": ".pdf",
    "application/x-pdf": ".pdf",
    "application/json": ".json",
    "application/x-ndjson": ".jsonl",
    "application/jsonl": ".jsonl",
    "message/rfc822": ".eml",
    "application/mbox": ".mbox",
    "application/vnd.ms-outlook": ".msg",
    "application/epub+zip": ".epub",
    "application/x-ipynb+json": ".ipynb",
    "application/x-tex": ".tex",
    "application/x-latex": ".tex",
    "text/x-tex": ".tex",
    "text/vtt": ".vtt",
    "application/x-subrip": ".srt",
    "application/rtf": ".rtf",
    "text/rtf": ".rtf",
    "application/vnd.ms-excel": ".xls",
    f"{_OPENDOCUMENT}.text": ".odt",
    f"{_OPENDOCUMENT}.spreadsheet": ".ods",
    f"{_OPENDOCUMENT}.presentation": ".odp",
    f"{_OPENXML}.wordprocessingml.document": ".docx",
    f"{_OPENXML}.presentationml.presentation": ".pptx",
    f"{_OPENXML}.spreadsheetml.sheet": ".xlsx",
})  # fmt: skip
_TEXT_TYPES = re.compile(
    r"text/.*|application/(?:x-)?(?:javascript|ecmascript|typescript|yaml|toml|sh|sql|tex|latex|httpd-php|perl|python)"
)
_SAYS_NOTHING = {"", "application/octet-stream", "binary/octet-stream", "application/x-download", "unknown/unknown"}
_REFUSED = re.compile(r"(image|audio|video|font)/")


def file_name(path: str, *, media_type: str) -> str:
    """Return a file name from the last part of a URL's path, with the suffix for its media type.

    Args:
        path: of the URL, percent-encoded; may have a query.
        media_type: lower case, without parameters; may be empty.

    Raises:
        FetchRefused: no reader supports the type.

    """
    name = _safe(unquote(path.partition("?")[0].rpartition("/")[2], errors="replace"))
    wanted = _suffix_of(media_type)
    if wanted is not None:
        return name if _kind(name) == KIND_OF_SUFFIX[wanted] else f"{name}{wanted}"
    if media_type in _SAYS_NOTHING:
        return _by_name(name, told=bool(media_type))
    if _TEXT_TYPES.fullmatch(media_type):
        return name if _kind(name) else f"{name}.txt"
    family = _REFUSED.match(media_type)
    reason = refusal(PurePath({"image": "x.svg", "font": "x.ttf"}.get(family[1], "x.mp4"))) if family else None
    raise FetchRefused(_refused_type(reason or refusal(PurePath(name)), media_type))


def _suffix_of(media_type: str) -> str | None:
    if media_type in _SUFFIX_OF_TYPE:
        return _SUFFIX_OF_TYPE[media_type]
    return ".json" if media_type.endswith("+json") else ".xml" if media_type.endswith("+xml") else None


def _by_name(name: str, *, told: bool) -> str:
    """Return the name; without its dots if no reader supports its suffix, so that the bytes decide."""
    reason = refusal(PurePath(name))
    if reason is None:
        return name
    if told:
        raise FetchRefused(_refused_type(reason, ""))
    return name.replace(".", "_")


def _refused_type(reason: str | None, media_type: str) -> str:
    shown = "".join(char for char in media_type if char.isprintable())[:80]
    return f"the page is {reason}" if reason else f"the page is of type {shown}, which no reader takes"


def _kind(name: str) -> str | None:
    return KIND_OF_SUFFIX.get(PurePath(name).suffix.lower())


def _safe(name: str) -> str:
    """Return a name that is valid in every file system and not hidden; `index` if nothing is left."""
    printable = "".join(char if char.isprintable() else "_" for char in _UNSAFE.sub("_", name)).strip("._ ")
    pure = PurePath(printable or "index")
    suffix = pure.suffix if len(pure.suffix.encode()) <= 20 else ""  # noqa: PLR2004 (longer is none)
    stem = pure.name.removesuffix(suffix) if suffix else pure.name
    return stem.encode()[:_MAX_STEM_BYTES].decode("utf-8", "ignore") + suffix
