"""Cutting data URIs out of text: a picture in base64 is a hundred passages that say nothing."""

from __future__ import annotations

import re

from ingestion.types import ReadWarning

_SHORT = 80  # characters of data: an example in a manual, which stays
_START = re.compile(r"data:(?:[\w.+-]{1,60}/[\w.+-]{1,60})?(?:;[\w.+-]{1,60}(?:=[\w.+-]{1,60})?){0,4},", re.IGNORECASE)
_BASE64 = re.compile(r"[\w+/=%-]*+(?:\n[\w+/=%-]{40,}+)*+")
_PLAIN = re.compile(r"[^\s\"<>)\]]*+")
_AROUND = 600  # characters before it in which the Markdown or the tag that holds it begins
_IMAGE = re.compile(r"!\[([^\]\n]*)\]\(\s*<?\Z")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]+\]:\s*<?\Z", re.MULTILINE)
_TAG = re.compile(r"<img\b[^<>]*\Z", re.IGNORECASE)
_ALT = re.compile(r"\balt=(?:\"([^\">]*)\"|'([^'>]*)')", re.IGNORECASE)


def cut_data(text: str) -> tuple[str, tuple[ReadWarning, ...]]:
    """Return the text without long data URIs, of which the alternative text stays, and a warning that counts them."""
    parts: list[str] = []
    end = count = 0
    for found in _START.finditer(text):
        if found.start() < end:
            continue
        pattern = _BASE64 if ";base64" in found[0].lower() else _PLAIN
        data = pattern.match(text, found.end())
        close = data.end() if data else found.end()
        if close - found.end() < _SHORT:
            continue
        start, close, left = _holder(text, max(end, found.start() - _AROUND), found.start(), close)
        parts += [text[end:start], left]
        end, count = close, count + 1
    if not count:
        return text, ()
    cut = "".join([*parts, text[end:]])
    what = "data URI was" if count == 1 else "data URIs were"
    detail = f"{count} {what} left out, {len(text) - len(cut)} characters of encoded data."
    return cut, (ReadWarning("data-left-out", detail),)


def _holder(text: str, since: int, start: int, close: int) -> tuple[int, int, str]:
    """Return where the image begins and ends that holds the data, and what stays of it."""
    before = text[since:start]
    if image := _IMAGE.search(before):
        return since + image.start(), _after(text, close, ")"), image[1]
    if definition := _DEFINITION.search(before):
        return since + definition.start(), _after(text, close, "\n"), ""
    if tag := _TAG.search(before):
        end = _after(text, close, ">")
        alt = _ALT.search(tag[0]) or _ALT.search(text, close, end)
        return since + tag.start(), end, (alt[1] or alt[2] or "") if alt else ""
    return start, close, "data:"


def _after(text: str, at: int, sign: str) -> int:
    found = text.find(sign, at, at + _AROUND)
    return at if found < 0 else found + 1
