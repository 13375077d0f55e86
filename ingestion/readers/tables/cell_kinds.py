"""What kind of value a cell shows: what tells the names of columns from the values below them."""

from __future__ import annotations

import re
from typing import Literal

CellKind = Literal["blank", "number", "date", "flag", "code", "link", "text"]

_BLANK = re.compile(r"[-\u2013\u2014.?/]*|n\.?\s?/?a\.?|#n/a|k\.\s?a\.|null|none|nan|tba|tbd", re.IGNORECASE)
_CURRENCY = r"(?:[$€£¥₹₽₩]|[A-Z]{3}|kr\.?|zł|Kč|Fr\.?|Ft|lei|руб\.?|грн\.?|лв\.?|[₴₺₪₫฿])"
_DIGITS = r"(?:\d{1,3}(?:[.,'\u2019\u00a0\u202f ]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?|[.,]\d+)(?:[eE][+-]?\d+)?"
_UNIT = r"(?:%|‰|°[CFK]?|[a-zµμΩÅ]{1,4}[²³23]?(?:/[a-z]{1,4}[²³23]?)?)"
_NUMBER = re.compile(
    rf"[<>≤≥~≈±]?\s?\(?[+\-\u2212]?\s?(?:{_CURRENCY}\s?)?[+\-\u2212]?{_DIGITS}\)?\s?(?:{_CURRENCY}|{_UNIT})?", re.ASCII
)
_MONTH = (
    r"(?:jan|feb|mar|mär|apr|may|mai|jun|jul|aug|sep|sept|oct|okt|nov|dec|dez)[a-zäéû]*\.?"
    r"|janvier|février|mars|avril|juin|juillet|août|enero|febrero|marzo|abril|mayo|junio|julio|agosto"
)
_TIME = r"\d{1,3}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[ap]\.?m\.?)?"
_DATE = re.compile(
    rf"\d{{4}}-\d{{1,2}}(?:-\d{{1,2}})?(?:[T ]{_TIME}(?:Z|[+-]\d\d:?\d\d)?)?"
    rf"|\d{{1,4}}[./]\d{{1,2}}[./]\d{{1,4}}(?:,? {_TIME})?|\d{{1,2}}[/.]\d{{4}}|{_TIME}"
    rf"|(?:\d{{1,2}}\.?(?:st|nd|rd|th)?[ -])?(?:{_MONTH})(?:[ -]\d{{1,2}},?)?(?:[ -]'?\d{{2,4}})?",
    re.IGNORECASE,
)
_WEEKDAY = (
    r"(?:mon|tue|wed|thu|fri|sat|sun|tues|wednes|thurs|satur)(?:day)?\.?|(?:mo|di|mi|do|fr|sa|so)\.?"
    r"|(?:mon|diens|donners|frei|sams|sonn)tag|mittwoch|lundi|mardi|mercredi|jeudi|vendredi|samedi|dimanche"
)
_FLAG = re.compile(r"true|false|yes|no|ja|nein|oui|non|wahr|falsch|vrai|faux|[xX✓✔✗✘☑☐]", re.IGNORECASE)
_LINK = re.compile(r"(?:https?|ftp|mailto):\S+|www\.\S+|[^\s@]+@[^\s@]+\.\w+", re.IGNORECASE)
_CODE = re.compile(r"(?=\S*\d)[\w.\-/#+:]+")
_YEAR = re.compile(r"(?:FY\s?)?(1[5-9]\d\d|20\d\d|21\d\d)\*?(?:[/-]\d\d(?:\d\d)?)?")
_PERIOD = re.compile(
    r"(?:[QHTS][1-4]|[1-4]Q|(?:CW|KW|W|week|day|month|year|quarter)\s?\d{1,3})(?:[ /'-]*(?:\d{4}|\d{2}))?"
    rf"|{_WEEKDAY}|(?:{_MONTH})(?:[ '/-]*(?:\d{{4}}|\d{{2}}))?|\d{{4}}[ -]?(?:Q[1-4]|H[12])|\d{{4}}-\d{{2}}",
    re.IGNORECASE,
)
_TESTS: tuple[tuple[CellKind, re.Pattern[str]], ...] = (
    ("blank", _BLANK), ("number", _NUMBER), ("date", _DATE), ("flag", _FLAG), ("link", _LINK), ("code", _CODE),
)  # fmt: skip
_LONGEST = 60  # characters of anything but text


def kind_of_cell(cell: str) -> CellKind:
    """Return the kind of a cell as shown: ``12,50 €`` is a number, ``AB-12`` a code, ``n/a`` blank."""
    text = cell.strip()
    if text.startswith("=") and len(text) > 1:  # a formula, not calculated
        return "number"
    if len(text) > _LONGEST:
        return "link" if _LINK.fullmatch(text[:2000]) else "text"
    return next((kind for kind, test in _TESTS if test.fullmatch(text)), "text")


def year_of(cell: str) -> int | None:
    """Return the year that a cell shows and nothing else; None if it shows another thing."""
    found = _YEAR.fullmatch(cell.strip())
    return int(found[1]) if found else None


def is_period(cell: str) -> bool:
    """Tell whether a cell shows a year, quarter, month or week, as the names of columns do."""
    return year_of(cell) is not None or _PERIOD.fullmatch(cell.strip()) is not None
