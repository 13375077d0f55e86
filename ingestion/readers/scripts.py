"""Raised and lowered characters as plain text: ``10^24``, ``H2O``, ``x_i``, ``1st``."""

from __future__ import annotations

import re

_POWER = re.compile(
    r"[+\-\u2212]?\d+(?:[.,]\d+)?|[a-zA-Z]|[+\-\u2212]|[a-zA-Z\d]+[+\-\u2212][a-zA-Z\d]+|[2-9]?[+\-\u2212]"
)
_ATOM = re.compile(r"[+\-\u2212]?\d*(?:[.,]\d+)?[a-zA-Z]?[+\-\u2212]?")
_ORDINAL = re.compile(r"st|nd|rd|th|er|e|re|ère|ème|o|a|º|ª|TM|SM|®|\*+", re.IGNORECASE)


def superscript(text: str, before: str) -> str:
    """Return raised text, given what stands before it: powers have ``^``, ordinals such as ``1st`` nothing."""
    own = text.strip()
    if not own or not before.strip() or before[-1:].isspace():
        return text
    if own[0] != "^" and _POWER.fullmatch(own) and not (_ORDINAL.fullmatch(own) and before[-1:].isdigit()):
        return f"^{text}" if _ATOM.fullmatch(own) else f"^({own})"
    return text


def subscript(text: str, before: str) -> str:
    """Return lowered text, given what stands before it: numbers in formulas of chemistry stay, letters have ``_``."""
    own = text.strip()
    if not own or not before[-1:].isalnum() or not own.isalnum() or own.isdigit():
        return text
    return f"_{text}"
