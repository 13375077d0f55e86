"""Characters for which PDFium gives a font's own code, because the font does not say what they are.

Most such fonts are TeX's, whose ligatures, dashes and quotation marks have the codes of control characters.
"""

from __future__ import annotations

import re

LOST = "\ufffd"  # a character whose font does not say what it is
# but tabs and line ends
_CODE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_LIGATURES = {
    "\x1b": "ﬀ", "\x1c": "ﬁ", "\x1d": "ﬂ", "\x1e": "ﬃ", "\x1f": "ﬄ",  # T1
    "\x0b": "ﬀ", "\x0c": "ﬁ", "\x0e": "ﬃ", "\x0f": "ﬄ",  # OT1
}  # fmt: skip
_MARKS = {"\x10": "“", "\x11": "”", "\x12": "„", "\x13": "«", "\x14": "»", "\x15": "–", "\x16": "—"}
_BULLET = "\x88"


def decoded(text: str) -> str:
    """Replace codes by what they are in TeX's fonts, one by one, or by `LOST`."""
    return _CODE.sub(_meaning, text) if _CODE.search(text) else text


def _meaning(found: re.Match[str]) -> str:
    code, text = found.group(), found.string
    before, after = text[found.start() - 1 : found.start()], text[found.end() : found.end() + 1]
    if code in _LIGATURES and (before.isalpha() or after.isalpha()):
        return _LIGATURES[code]
    if code in _MARKS and (before + after).strip():
        return _MARKS[code]
    if code == _BULLET and not before.strip() and not after.strip():
        return "•"
    return LOST
