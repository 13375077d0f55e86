"""Normalising text as `ingestion.types.Extracted` requires."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import PurePath

MAX_TITLE = 300
_LINE_ENDS = re.compile("\r\n|[\r\v\f\x1c-\x1e\x85\u2028\u2029]")
# control characters, soft hyphens, byte order marks inside, halves of surrogate pairs
_UNWANTED = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\xad\ufeff\ufffe\uffff\ud800-\udfff]")
# no script stacks more combining marks; normalising takes quadratic time in their number
_PILES = re.compile("([\u0300-\u036f]{32})[\u0300-\u036f]+")


def clean(text: str) -> str:
    """Return the text in NFC with line feeds as line ends, without control characters or lone surrogates."""
    text = _PILES.sub(r"\1", _UNWANTED.sub("", _LINE_ENDS.sub("\n", text)))
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def one_line(text: object, *, limit: int = MAX_TITLE) -> str:
    """Return a cleaned text on one line, cut at a word to `limit` characters."""
    line = " ".join(clean(str(text)[: 8 * limit]).split())
    if len(line) <= limit:
        return line
    return line[: limit - 1].rsplit(" ", 1)[0] + "…"


def name_as_title(name: PurePath, *, suffix: bool = False) -> str:
    """Return a file's name for display; bytes that are not UTF-8 become ``�``. Never empty."""
    shown = os.fsencode(name.name if suffix else name.stem).decode("utf-8", "replace")
    return one_line(shown) or "untitled"
