"""Raised and lowered characters as plain text: ``10^24``, ``x^(n+1)``, ``H2O``, ``x_i``, ``1st``.

The one rule for all formats: pages, office documents and PDFs.
"""

from __future__ import annotations

import re

_ATOM = re.compile(r"[+\-−±]?\w+(?:[.,]\d+)?[+\-−]?|[+\-−±]+")
_SIGNS = re.compile(r"[*†‡§¶′″’'\"®™°ºª]+|tm|sm", re.IGNORECASE)  # which say by themselves what they are
_ORDINAL = re.compile(r"st|nd|rd|th|er|re|ère|ers|ème|es|e|o|a|os|as|do|de|ten|te|r", re.IGNORECASE)
_ROMAN = re.compile(r"\b[IVXLCDM]{2,}\Z")
_FRENCH_ORDINAL = re.compile(r"er|re|ère|ème|e", re.IGNORECASE)
_NUMBER = re.compile(r"\d+[+\-−]?")
_BEGUN = {"^": re.compile(r"\^[+\-−±]?\w{0,6}\Z"), "_": re.compile(r"(?<=\w)_[^\W_]{1,3}\Z")}  # and goes on
_TAIL = re.compile(r"[.,;:]+\Z")  # what stands behind it, set in its size
_CLOSING = ")]}|’'"
_SENTENCE_MARKS = '.,;:!?…”“»"'


def superscript(text: str, before: str) -> str:
    """Return raised text, given what stands before it: with ``^`` but for ordinals, marks, and what stands alone.

    A number behind a sentence mark, a note's, has ``^`` as well: ``wet.^3`` is no ``wet.3``.
    """
    own, around = _without_tail(text), before[-1:]
    if not own or own[0] in "^[(" or not around or around.isspace():
        return text
    if _SIGNS.fullmatch(own) or _is_ordinal(own, before):
        return text
    if around in _SENTENCE_MARKS and _NUMBER.fullmatch(own):
        return _marked("^", own, text, before)
    return _marked("^", own, text, before) if around.isalnum() or around in _CLOSING else text


def subscript(text: str, before: str) -> str:
    """Return lowered text, given what stands before it: with ``_`` but for a number behind a letter."""
    own, around = _without_tail(text), before[-1:]
    if not own or own[0] in "_[(" or not (around.isalnum() or around in {")", "]"}):
        return text
    if _NUMBER.fullmatch(own) and not around.isdigit():
        return text
    return _marked("_", own, text, before)


def _is_ordinal(own: str, before: str) -> bool:
    if before[-1:].isdigit():
        return _ORDINAL.fullmatch(own) is not None
    return _FRENCH_ORDINAL.fullmatch(own) is not None and _ROMAN.search(before[-20:]) is not None


def _marked(mark: str, own: str, text: str, before: str) -> str:
    """Put a mark before what is raised or lowered, brackets around it unless it is one thing, and blanks outside."""
    if _BEGUN[mark].search(before[-10:]):
        return text
    written = f"{mark}{own}" if _ATOM.fullmatch(own) else f"{mark}({own})"
    return text.replace(own, written, 1)


def _without_tail(text: str) -> str:
    own = text.strip()
    return _TAIL.sub("", own) if own[:1].isalnum() else own
