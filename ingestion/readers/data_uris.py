"""Cutting data URIs out of text: a picture in base64 is a hundred passages that say nothing."""

from __future__ import annotations

import re

from ingestion.types import ReadWarning

_SHORT = 80  # characters of data: an example in a manual, which stays
_DATA = (
    r"data:[\w.+-]*/?[\w.+-]*(?:;[\w.+-]+(?:=[\w.+\"-]+)?)*(?:;base64)?,[\w%+/=\-.~!*'();:@&$,?#\[\]\\]{"
    + str(_SHORT)
    + r",}"
)
_IMAGE = re.compile(
    rf"!\[(?P<alt>[^\]\n]*)\]\(\s*<?{_DATA}[^)\n]*\)|<img\b[^>]{{0,500}}?src=[\"']?{_DATA}[^>]*>", re.IGNORECASE
)
_DEFINITION = re.compile(rf"^ {{0,3}}\[[^\]\n]+\]:\s*<?{_DATA}.*$\n?", re.IGNORECASE | re.MULTILINE)
_BARE = re.compile(rf"(?P<head>data:[\w.+-]*/?[\w.+-]*)(?:;[\w.+-]+)*;base64,[\w+/=\s]{{{_SHORT},}}", re.IGNORECASE)
_ALT = re.compile(r"\balt=(?:\"([^\">]*)\"|'([^'>]*)')", re.IGNORECASE)


def cut_data(text: str) -> tuple[str, tuple[ReadWarning, ...]]:
    """Return the text without long data URIs, of which the alternative text stays, and a warning that counts them."""
    if "data:" not in text[: len(text)].lower():
        return text, ()
    cut, pictures = _IMAGE.subn(_alternative, text)
    cut, definitions = _DEFINITION.subn("", cut)
    cut, bare = _BARE.subn(r"\g<head>", cut)
    count = pictures + definitions + bare
    if not count:
        return text, ()
    what = "data URI was" if count == 1 else "data URIs were"
    detail = f"{count} {what} left out, {len(text) - len(cut)} characters of encoded data."
    return cut, (ReadWarning("data-left-out", detail),)


def _alternative(found: re.Match[str]) -> str:
    if found["alt"] is not None:
        return found["alt"]
    tag = _ALT.search(found[0])
    return (tag[1] or tag[2] or "") if tag else ""
