"""Boundaries at which a text may be cut: sentences, else lines, phrases, words, graphemes.

A few rules after Unicode's UAX #29 (sentence boundaries), with English, German and French abbreviations and German
ordinals, and with a boundary at each list item, table row, heading and fence. Existing splitters are for one language
(Punkt's models), slower by orders of magnitude, or quadratic on text without punctuation. Exact boundaries matter less
than stable ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import regex

Span = tuple[int, int]

_ABBREVIATION = regex.compile(
    r"al|approx|art|b\.c|ca|cf|ch|chap|co|corp|dept|dr|e\.g|ed|eds|eq|esp|est|etc|ext|fig|figs|gen|i\.e|inc|incl|jr|lt|ltd|"
    r"max|min|mr|mrs|ms|no|nos|nr|op|p\.m|a\.m|ph\.d|pp|prof|ref|refs|resp|rev|sec|sect|sen|sr|st|tab|tel|univ|v|vol|vs|"
    r"abb|abs|bd|bzgl|bzw|evtl|ggf|hrsg|inkl|mio|mrd|nrn|rz|sog|u\.a|usw|vgl|z\.b|zzgl|"
    r"env|mlle|mme|mlles|mmes|réf|éd|\p{L}(?:\.\p{L})*"
)
# what German counts with a number and a full stop; months that are written as in English need more around them
_COUNTED = regex.compile(
    r"(?:Januar|Jänner|Februar|Feber|März|Mai|Juni|Juli|Oktober|Dezember|Jan\.|Feb\.|Jun\.|Jul\.|Okt\.|Dez\.|"
    r"(?:April|August|September|November)\s\d{4}|Advent|Auflage|Aufl\.|Etage|Geburtstage?s?|Halbjahre?s?|"
    r"Jahrhunderts?|Jahrtausends?|Jh\.|Kapitels?|Klasse|Lebensjahre?s?|Liga|Monate?s?|OG|Obergeschoss(?:es)?|"
    r"Platz(?:es)?|Quartale?s?|Tage?s?|Weltkriege?s?|Woche)(?!\w)|\d{1,2}\.(?:\s\d{2}|\d{4})"
)
_MONTH_ALIKE = regex.compile(r"(?:April|August|September|November)(?!\w)")
_DATING = regex.compile(
    r"(?<!\w)(?:ab|am|bis|seit|und|\d{1,2}\.(?:\s?(?:[-\u2013/]|bis|und))?)\s?\d{1,2}$", regex.IGNORECASE
)
_ORDINAL = regex.compile(r"(?<!\w)(?:der|die|das|dem|den|des|vom|zum|zur|beim|im)\s\d{1,2}$", regex.IGNORECASE)
_MONTH_AND_YEAR = regex.compile(r"(?<!\d)\d{1,2}\.\s\d{1,2}$")
_YEAR = regex.compile(r"\d{4}(?!\d)")
_EXTENDS = r"[\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}]"
# escaped where a character looks like one of ASCII: wide stops and brackets, the Urdu full stop, curly quotes
_WIDE_STOPS = "。｡\uff01\uff1f\uff0e"
_STOPS = ".!?…؟।॥\u06d4"
_CLOSING = "\"'”»)*_`\\]\u2019"
_OPENING = "\"'“«(*_`¿¡\\[\u2018"
_END = regex.compile(
    rf"""
      (?P<blank> \n[^\S\n]*\n\s* )
    | (?P<item> \n(?=[^\S\n]*(?:[-*+•‣◦]\s|\d{{1,3}}[.)]\s|\||\#{{1,6}}\s|```|~~~)) )
    | (?P<wide> (?<![{_WIDE_STOPS}])[{_WIDE_STOPS}]++[」』】”\uff09\u2019]*+(?!{_EXTENDS})\s* )
    | (?P<stop> (?<![{_STOPS}])[{_STOPS}]++[{_CLOSING}]*+\s++(?=[{_OPENING}]*+[^\p{{Ll}}\s{_OPENING}]) )
    """,
    regex.VERBOSE,
)
_WORD_BEFORE = regex.compile(r"(?P<line>^|\n)?[^\S\n]*([\p{L}\p{N}][\p{L}\p{N}.]*)$")
_LOOKBACK = 24
_LONGEST_ABBREVIATION = 6  # letters, "approx"

_FINER = (
    regex.compile(r"[^\n]++"),
    regex.compile(r"\S++(?:[^\S\n]++\S++){0,7}"),
    regex.compile(r"\S++"),
    regex.compile(r"\X{1,32}"),
    regex.compile(r"\X"),
    regex.compile(r".", regex.DOTALL),
)


def sentences(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield the sentences of ``text[start:end]`` in order; only white space between them is left out."""
    begin = start
    for match in _END.finditer(text, start, end):
        if match["stop"] and text[match.start()] == "." and _goes_on(text, begin, match):
            continue
        yield from trimmed(text, begin, match.end())
        begin = match.end()
    yield from trimmed(text, begin, end)


def finer(text: str) -> Iterator[Callable[[int, int], Iterator[Span]]]:
    """Yield functions that cut ``text[start:end]`` ever finer: lines, phrases, words, graphemes, code points."""
    for pattern in _FINER:
        yield partial(_pieces, pattern, text)


def _pieces(pattern: regex.Pattern[str], text: str, start: int, end: int) -> Iterator[Span]:
    for match in pattern.finditer(text, start, end):
        yield from trimmed(text, *match.span())


def _goes_on(text: str, begin: int, stop: regex.Match[str]) -> bool:
    return _abbreviates(text, begin, stop.start()) or _counts(text, begin, stop.start(), stop.end())


def _counts(text: str, begin: int, stop: int, following: int) -> bool:
    """Tell whether the full stop at `stop` makes a number an ordinal, as in German, ``am 31. März``."""
    if stop == begin or not text[stop - 1].isdigit() or _has_three_digits(text[max(begin, stop - 3) : stop]):
        return False
    window = text[max(begin, stop - _LOOKBACK) : stop]
    return (
        _COUNTED.match(text, following) is not None
        or _ORDINAL.search(window) is not None
        or (_MONTH_ALIKE.match(text, following) is not None and _DATING.search(window) is not None)
        or (_YEAR.match(text, following) is not None and _MONTH_AND_YEAR.search(window) is not None)
    )


def _has_three_digits(end: str) -> bool:
    return len(end) == 3 and end.isdigit()  # noqa: PLR2004


def _abbreviates(text: str, begin: int, stop: int) -> bool:
    """Tell whether the full stop at `stop` ends an abbreviation, an initial or the number of a list item."""
    if text[max(begin, stop - _LONGEST_ABBREVIATION - 1) : stop].isalpha() and stop - begin > _LONGEST_ABBREVIATION:
        return False  # most sentences, without a search
    window = text[max(begin, stop - _LOOKBACK) : stop]
    found = _WORD_BEFORE.search(window)
    if found is None:
        return False
    word = found[2].lower()
    at_line_start = found["line"] is not None and (found.start() > 0 or stop - begin <= _LOOKBACK)
    heads_item = at_line_start and word.isdigit()
    return heads_item or _ABBREVIATION.fullmatch(word) is not None


def trimmed(text: str, start: int, end: int) -> Iterator[Span]:
    """Yield ``text[start:end]`` without the white space around it; nothing if there is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if start < end:
        yield start, end
