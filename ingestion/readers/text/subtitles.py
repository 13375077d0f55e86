"""Subtitles (SubRip, WebVTT): what is said, as paragraphs, each under the time at which it begins."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import PurePath

from ingestion.readers.cleaning import clean, name_as_title
from ingestion.readers.encodings.decoding import decode
from ingestion.types import Extracted, Heading, ReadOptions, ReadWarning

PARAGRAPH_SECONDS = 60.0
PAUSE_SECONDS = 4.0
_TIMES = re.compile(
    r"^[ \t]*(?:(?P<h1>\d+):)?(?P<m1>\d{1,2}):(?P<s1>\d{1,2})[.,](?P<f1>\d{1,3})[ \t]*-->[ \t]*"
    r"(?:(?P<h2>\d+):)?(?P<m2>\d{1,2}):(?P<s2>\d{1,2})[.,](?P<f2>\d{1,3})[^\n]*$"
)
_BEGIN = r"(?:\d+:)?\d{1,2}:\d{1,2}[.,]\d{1,3}[ \t]*-->"
# a blank line; or none, but the number and the time of the next block
_BLOCK_END = re.compile(rf"\n[ \t]*\n+|\n(?=[ \t]*\d+[ \t]*\n[ \t]*{_BEGIN})|(?<=[^\d\s])\n(?=[ \t]*{_BEGIN})")
_TAG = re.compile(
    r"</?(?:[bius]|c|lang|font|ruby|rt)(?:[.\s][^>]{0,200})?>|<\d[\d:.]*>|\{\\[^}]{0,100}\}", re.IGNORECASE
)
_VOICE = re.compile(r"<v(?:\.[^\s>]*)?[ \t]+([^>]{1,100})>", re.IGNORECASE)
_ASIDE = re.compile(r"^(?:WEBVTT|NOTE|STYLE|REGION)\b")


@dataclass(frozen=True, slots=True)
class _Cue:
    start: float
    end: float
    text: str


def read_subtitles(name: PurePath, data: bytes, options: ReadOptions) -> Extracted:
    """Read subtitles; a line ``[00:01:05]`` and a heading ``00:01:05`` tell when a paragraph begins."""
    decoded = decode(data, language=options.language)
    cues, odd = _cues(clean(decoded.text))
    parts: list[str] = []
    headings: list[Heading] = []
    length = 0
    for start, text in _paragraphs(cues):
        headings.append(Heading(length, 1, start))
        parts.append(f"[{start}]\n{text}\n\n")
        length += len(parts[-1])
    warnings = decoded.warnings
    if odd:
        what = "block has" if odd == 1 else "blocks have"
        detail = f"{odd} {what} no time that can be read, and stand below the one before."
        warnings = (*warnings, ReadWarning("part-unreadable", detail))
    return Extracted("".join(parts), title=name_as_title(name), headings=tuple(headings), warnings=warnings)


def _cues(text: str) -> tuple[list[_Cue], int]:
    """Return the cues, and how many blocks of text had no time; their text belongs to the cue before."""
    cues: list[_Cue] = []
    odd = 0
    for block in _BLOCK_END.split(text.strip("\n")):
        lines = block.split("\n")
        at = next((number for number, line in enumerate(lines[:3]) if "-->" in line), None)
        times = _TIMES.match(lines[at]) if at is not None else None
        if times is None and _ASIDE.match(lines[0]):
            continue
        said = lines[at + 1 :] if at is not None else lines
        start, end = (
            (_seconds(times, "1"), _seconds(times, "2"))
            if times
            else (cues[-1].end, cues[-1].end)
            if cues
            else (0.0, 0.0)
        )
        odd += times is None
        cues.append(_Cue(start, end, _words(said)))
    return cues, odd


def _words(lines: list[str]) -> str:
    text = _VOICE.sub(r"\1: ", " ".join(line.strip() for line in lines))
    return " ".join(unescape(_TAG.sub("", text).replace("</v>", "")).split())


def _seconds(times: re.Match[str], side: str) -> float:
    hours, minutes, seconds, fraction = (times[f"{part}{side}"] or "0" for part in "hmsf")
    return 3600 * int(hours[:6]) + 60 * int(minutes) + int(seconds) + int(fraction.ljust(3, "0")) / 1000


def _paragraphs(cues: list[_Cue]) -> Iterator[tuple[str, str]]:
    """Yield paragraphs that end with a sentence after a minute, or at a pause; repeated cues are left out."""
    open_cues: list[_Cue] = []
    for cue in cues:
        if not cue.text or (open_cues and cue.text == open_cues[-1].text):
            continue
        if open_cues and _ends(open_cues, cue):
            yield _clock(open_cues[0].start), " ".join(one.text for one in open_cues)
            open_cues = []
        open_cues.append(cue)
    if open_cues:
        yield _clock(open_cues[0].start), " ".join(one.text for one in open_cues)


def _ends(cues: list[_Cue], following: _Cue) -> bool:
    if following.start - cues[-1].end > PAUSE_SECONDS:
        return True
    long = following.start - cues[0].start
    return (
        long > PARAGRAPH_SECONDS and cues[-1].text.endswith((".", "!", "?", "…", "。"))
    ) or long > 3 * PARAGRAPH_SECONDS


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
