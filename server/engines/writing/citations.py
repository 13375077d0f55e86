"""Citations: finding the markers in what a model writes, while it is streamed, and making a document's own harmless.

What counts as a marker is decided once, in `_Markers`, for answers, passages and messages alike. Code is left alone:
fences, inline code, and brackets outside of them that index or list something (``m[2]``, ``= [1, 2]``, ``[80, 443]``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

HIGHEST = 99  # brackets with a higher number, or with 0, hold years, ports, indexes: no passages
_PASSES = 4
Checked = Callable[[str, Sequence[int]], Sequence[int]]
LONGEST_MARKER = 64  # characters between the brackets
MOST = 32  # markers that follow each other at once; a model that repeats itself for ever writes more
LONGEST_CODE = 300  # characters of inline code; a backtick without its partner within so many is a backtick
CONTEXT = 120  # characters of a line that are looked back at

_NAME = (
    r"(?:sources?|passages?|documents?|docs?|ref(?:erence)?s?|citations?|footnotes?|notes?"
    r"|quellen?|dokumente?|fuentes?|fonti?|bron(?:nen)?)"
)
_NAMES = (
    *("source", "passage", "document", "doc", "reference", "citation", "footnote", "note"),
    *("quelle", "dokument", "fuente", "fonte", "bronnen"),
)
_ONE = rf"(?:{_NAME}[.:]?\s*#?\s*)?\^?\d{{1,4}}"
_BODY = re.compile(rf"\s*{_ONE}(?:\s*(?:[-\u2013\u2014,;&]|and|und)\s*{_ONE})*\s*(?:†[^\]】\n]*)?", re.IGNORECASE)
_BEGUN = re.compile(r"\s*(?:([^\W\d_]{1,12})(?:[.:]?\s*#?\s*(?:\^?\d.*)?)?|\^?\d.*|\^)?", re.DOTALL)
_RANGE = re.compile(r"(\d{1,4})(?:\s*[-\u2013\u2014]\s*[^\d\s,;&]*\s*(\d{1,4}))?")
_CLOSING = {"[": "]", "【": "】", "\uff3b": "\uff3d"}
_TELLING = re.compile(r"[\n`~\[\](){}【\uff3b]")
_OPENS = re.compile(r"[\[【\uff3b]")
_OPENING = {"]": "[", "}": "{", ")": "(f"}
_RUN = re.compile(r"`+")
_LINE_HEAD = re.compile(r"[\s>]*(?:(?:[-*+]|\d{1,3}[.)])\s+)?")
_OPERATORS = frozenset("=+/<>&^~{\\@#$")
_ENDS_CLAUSE = re.compile(r"[.,!?:](?:\s|\Z)|\n|\Z|\s(?:\s|\Z)")  # looks at two characters, as `_stands` waits for
_LAST_WORD = re.compile(r"(?:\A|(?<=\s))([^\W\d_][^\W\d_'’-]{2,})\Z")  # noqa: RUF001 (as people write)
_LAST_NUMBER = re.compile(r"(?:\A|(?<=\s))[$€£~±+-]?\d[\d.,:/]*\Z")
_LAST_UNIT = re.compile(r"(?:\A|(?<=\s))\d[\d.,]*[ \u00a0\u202f][^\W\d_]{1,3}\Z")
_AFTER_NUMBER = re.compile(r"[.,;:!?]?(?:\s|\Z)")
_SENTENCE = frozenset("\"'(.,;:!?…”’»*%`–—-|>")  # noqa: RUF001 (as people write)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[\u3002\uff01\uff1f])(?=.)")
_WIDE = 0x2E80  # from here on: scripts that put no space between words, and their punctuation
_PASSAGE_HEAD = re.compile(
    r"(^|[\n\r\v\f\x85\u2028\u2029])([ \t\0\xa0\xad\u200b-\u200f\u2060\ufeff>*+#-]*)\[(\s*\d{1,4}\s*)\](?=\s|\Z)"
)
_ROUND = re.compile(
    rf"(?:\({_NAME}[.:]?\s*#?\s*(\d{{1,2}}(?:\s*[,;]\s*\d{{1,2}})*)\)"
    r"|(?<=[^\s(\[])\s\((\d{1,2}(?:\s*[,;]\s*\d{1,2})*)\)(?=[.,;:!?](?:\s|\Z)|[ \t]*(?:\n|\Z)))",
    re.IGNORECASE,
)


def without_markers(text: str, *, passages: int = HIGHEST) -> str:
    """Return a document's text, or a user's message, with what would count as a citation of it in round brackets.

    Only the answer's own markers may look like citations of so many `passages`; code stays as it is, except that no
    line begins like a passage of the prompt.
    """
    for _ in range(_PASSES if _OPENS.search(text) else 0):
        harmless = _harmless(text, passages)
        if harmless == text:
            break
        text = harmless  # what stands beside a marker may be one now, as `[1]` behind `]【1】`
    return text


def _harmless(text: str, passages: int) -> str:
    text = _PASSAGE_HEAD.sub(r"\1\2(\3)", text)
    markers = _Markers(passages, _in_round_brackets)
    harmless = markers.feed(text) + markers.end()
    if not markers.is_in_fence:
        return harmless
    # a passage may begin or end within a block of code, so nobody knows which of its lines are code
    markers = _Markers(passages, _in_round_brackets, knows_fences=False)
    return markers.feed(text) + markers.end()


def uncited(text: str) -> str:
    """Return an earlier answer without its markers, which point at other passages than the next answer's."""
    markers = _Markers(HIGHEST, lambda _: "")
    return markers.feed(text) + markers.end()


def _sentence(line: str) -> str:
    """Return the last sentence of the end of a line."""
    if len(line) >= CONTEXT:
        line = line.partition(" ")[2]  # its first word may be a part of one
    return _SENTENCE_END.split(line.rstrip())[-1]


class CitationFilter:
    """Takes an answer's pieces; returns them with its citations as ``[1]``, and without those of no passage.

    What a model may write for ``[1][2]`` becomes that: ``[1, 2]``, ``[1-2]``, ``【1】``, ``[^1]``, ``[Source 1]``.
    ``[1, 9]`` of three passages becomes ``[1]``. Text that may be a marker, or code, is held back until that is
    decided, so that the result does not depend on how the answer is cut into pieces.

    An answer without any such marker may cite in round brackets, ``… (1).``, which stay as they are, and do not count
    where a passage has the same.

    `checked` gets what stands before a lone marker, back to the marker or sentence before it, and the number that it
    names; it returns those to show in its place.

    Attributes:
        cited: the ids that the answer cites; complete after `end`.

    """

    def __init__(self, passages: Sequence[str], *, checked: Checked | None = None) -> None:
        self._passages = passages
        self._checked = checked
        self._markers = _Markers(len(passages), self._shown)
        self.cited: set[int] = set()

    @property
    def prose(self) -> str:
        """What was written so far and is final, without code."""
        return self._markers.prose

    def feed(self, piece: str) -> str:
        """Return the text that is final now."""
        return self._markers.feed(piece)

    def end(self) -> str:
        """Return what was held back."""
        last = self._markers.end()
        if not self.cited:
            own = set().union(*map(_round_numbers, self._passages))
            self.cited |= {n for n in _round_numbers(self._markers.prose) - own if 1 <= n <= len(self._passages)}
        return last

    def _shown(self, marker: _Marker) -> str:
        known = marker.known
        if self._checked and len(known) == 1 and marker.is_alone and not marker.stays:
            known = tuple(self._checked(_sentence(marker.before), known))
        self.cited.update(known)
        return marker.raw if marker.stays else "".join(f"[{number}]" for number in known)


@dataclass(frozen=True, slots=True)
class _Marker:
    """A marker.

    Attributes:
        known: the passages that it names.
        stays: whether its text is not to be changed.
        before: the line before it, back to the marker before, if any; at most `CONTEXT` characters.
        is_alone: whether no other follows at once, nor is followed.

    """

    raw: str
    known: tuple[int, ...]
    stays: bool
    before: str
    is_alone: bool


@dataclass(frozen=True, slots=True)
class _Bracket:
    """Brackets that may be a marker: where they end, and whether nothing but a citation is written so."""

    end: int
    raw: str
    is_named: bool


class _Undecided(Exception):
    """What is there is too little to decide what it is."""


class _Markers:
    """Finds the markers of a text that comes in pieces, and replaces them; see `CitationFilter`.

    Each decision looks at a bounded part of the text before and after, never at where the pieces begin.

    Attributes:
        prose: what was not code, complete after `end`.

    """

    def __init__(self, passages: int, shown: Callable[[_Marker], str], *, knows_fences: bool = True) -> None:
        self._passages = passages
        self._shown = shown
        self._knows_fences = knows_fences
        self._text = ""  # not decided yet
        self._is_all = False
        self._blank = ""  # a space at the end of what is decided, which goes with a marker that goes
        self._line = ""  # what is decided of the current line; at most its last `CONTEXT` characters
        self._since = ""  # the same, back to the last marker
        self._open = ""  # brackets that are open in this line; f: the round ones of a call
        self._fence = ""  # the characters that opened the block of code that this is in
        self._prose: list[str] = []

    @property
    def prose(self) -> str:
        return "".join(self._prose)

    @property
    def is_in_fence(self) -> bool:
        return bool(self._fence)

    def feed(self, piece: str) -> str:
        self._text += piece
        return self._decided()

    def end(self) -> str:
        self._is_all = True
        return self._decided()

    def _decided(self) -> str:
        """Return the beginning of the text, as far as it is decided, and keep the rest."""
        out, place = [self._blank], 0
        while place < len(self._text):
            found = _TELLING.search(self._text, place)
            start = found.start() if found else len(self._text)
            self._take(self._text[place:start], out)
            place = start
            try:
                place = self._step(place, out)
            except _Undecided:
                break
        self._text = self._text[place:]
        said = "".join(out)
        self._blank = " " if said.endswith(" ") and not self._is_all else ""
        return said.removesuffix(self._blank)

    def _step(self, start: int, out: list[str]) -> int:
        """Take what begins with a telling character; return where it ends."""
        character = self._text[start : start + 1]
        if character in ("`", "~"):
            end = self._code_end(start)
            self._take(self._text[start:end], out, is_code=True)
            return end
        if character in _CLOSING and not self._fence:
            return self._take_brackets(start, out)
        self._take(character, out)
        return start + len(character)

    def _take(self, text: str, out: list[str], *, is_code: bool = False) -> None:
        """Take text that is no marker."""
        out.append(text)
        is_code = is_code or bool(self._fence)
        self._prose.append("`" if is_code else text)
        if not is_code and text in ("{", "[", "("):
            kind = "f" if text == "(" and _is_identifier(self._line[-1:]) else text
            self._open = (self._open + kind)[-CONTEXT:]
        elif not is_code and self._open and self._open[-1] in _OPENING.get(text, ()):
            self._open = self._open[:-1]
        _, is_next, rest = text.rpartition("\n")
        self._line = rest[-CONTEXT:] if is_next else (self._line + rest)[-CONTEXT:]
        self._since = rest[-CONTEXT:] if is_next else (self._since + rest)[-CONTEXT:]
        if is_next:
            self._open = ""

    def _code_end(self, start: int) -> int:
        """Return the end of the code, or of its first line, that begins with a run of ` or ~; else of the run."""
        text, character = self._text, self._text[start]
        run = start
        while run < len(text) and text[run] == character:
            run += 1
        self._need(run + 1)
        length, begins_line = run - start, _LINE_HEAD.fullmatch(self._line) is not None
        if self._fence:
            closes = begins_line and character == self._fence[0] and length >= len(self._fence)
            if closes and text[run : run + 1].strip() == "":
                self._fence = ""
            return run
        if self._knows_fences and begins_line and length >= 3:  # noqa: PLR2004 (CommonMark)
            line = text[run : run + LONGEST_CODE].partition("\n")[0]
            if run + len(line) == len(text) and len(line) < LONGEST_CODE:
                self._need(len(text) + 1)
            if character == "~" or "`" not in line:
                self._fence = text[start:run]
                return run
        return self._span_end(run, length) if character == "`" else run

    def _span_end(self, run: int, length: int) -> int:
        """Return where inline code ends that a run of backticks opened; the end of the run if none closes it."""
        window = self._text[run : run + LONGEST_CODE].partition("\n")[0]
        is_cut = run + len(window) == len(self._text) and len(window) < LONGEST_CODE
        for other in _RUN.finditer(window):
            if is_cut and other.end() == len(window):
                break
            if len(other.group()) == length:
                return run + other.end()
        if is_cut:
            self._need(len(self._text) + 1)
            if window.endswith("`" * length) and not window.endswith("`" * (length + 1)):
                return run + len(window)
        return run

    def _take_brackets(self, start: int, out: list[str]) -> int:
        """Take brackets, and those that follow them at once."""
        group: list[_Bracket] = []
        end = start
        while len(group) < MOST and self._text[end : end + 1] in _CLOSING and (bracket := self._bracket(end)):
            group.append(bracket)
            end = bracket.end
            self._need(end + 1)
        if not group:
            self._take(self._text[start], out)
            return start + 1
        stands = self._stands(end)
        written = "".join(self._marked(each, stands=stands, is_alone=len(group) == 1) for each in group)
        raw = self._text[start:end]
        if not written and (said := "".join(out)).endswith(" "):
            out[:] = [said[:-1]]
        self._prose.append(raw)
        self._line, self._since = (self._line + raw)[-CONTEXT:], ""
        out.append(written)
        return end

    def _bracket(self, start: int) -> _Bracket | None:
        """Return the brackets at a place if numbers of passages may be in them."""
        opening = self._text[start]
        doubled = opening == "[" and self._text[start + 1 : start + 2] == "["  # [[1]]
        if opening == "[":
            self._need(start + 2)
        inner = start + 1 + doubled
        closing = _CLOSING[opening] * (1 + doubled)
        window = self._text[inner : inner + LONGEST_MARKER]
        body, is_closed, _ = window.partition(closing)
        if not is_closed:
            if len(window) < LONGEST_MARKER and "\n" not in window and _may_become(window):
                self._need(len(self._text) + 1)
            return None
        if _BODY.fullmatch(body) is None:
            return None
        end = inner + len(body) + len(closing)
        is_named = opening != "[" or "†" in body or re.search(r"[^\W\d_]{3}", body) is not None
        return _Bracket(end, self._text[start:end], is_named)

    def _marked(self, bracket: _Bracket, *, stands: Literal["alone", "glued", "not"], is_alone: bool) -> str:
        """Return what stands for brackets in the text."""
        named = _numbers(bracket.raw, self._passages)
        if not named or (stands == "not" and not bracket.is_named):
            return bracket.raw
        known = tuple(number for number in named if number <= self._passages)
        may_be_list = len(named) > 1 and not bracket.is_named
        if not known and (may_be_list or stands == "glued"):  # ``[22, 80]``, ``row[9]``
            return bracket.raw
        stays = self._text.startswith("(", bracket.end)
        return self._shown(_Marker(bracket.raw, known, stays, before=self._since, is_alone=is_alone))

    def _stands(self, end: int) -> Literal["alone", "glued", "not"]:
        """Tell whether brackets that end at a place stand where a citation does: after a word or a sentence."""
        if self._open.strip("("):
            return "not"
        before = self._line.rstrip(" \t")
        last, is_apart = before[-1:], len(before) < len(self._line)
        if not last:
            return "alone"
        if last in _OPERATORS or (last == ":" and before[-2:-1] in ("'", '"')):
            return "not"
        if is_apart or last in _SENTENCE or ord(last) >= _WIDE:
            return "alone"
        self._need(end + 2)
        if _LAST_NUMBER.search(before):  # no code has an index to a number
            return "alone" if _AFTER_NUMBER.match(self._text, end) else "not"
        word = _LAST_WORD.search(before)
        is_prose = (
            last == ")"
            or _LAST_UNIT.search(before)
            or (word is not None and _is_prose(before[: word.start()].rstrip()[-1:]))
        )
        return "glued" if is_prose and _ENDS_CLAUSE.match(self._text, end) else "not"

    def _need(self, length: int) -> None:
        """Leave the decision to a later time unless so much of the text is there, or all of it."""
        if len(self._text) < length and not self._is_all:
            raise _Undecided


def _may_become(body: str) -> bool:
    """Tell whether brackets that begin like this may be a marker."""
    begun = _BEGUN.fullmatch(body)
    if begun is None:
        return False
    word = (begun.group(1) or "").lower()
    return any(name.startswith(word) or word.startswith(name) for name in _NAMES)


def _numbers(raw: str, passages: int) -> list[int]:
    """Return the numbers in a marker, in order; none where they are no passages' but an interval, a year, an index."""
    numbers: dict[int, None] = {}
    for match in _RANGE.finditer(raw.partition("†")[0]):
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 < first <= last <= max(HIGHEST, passages) or (first < last > passages):
            return []
        numbers |= dict.fromkeys(range(first, last + 1))
    return list(numbers)


def _in_round_brackets(marker: _Marker) -> str:
    body = marker.raw.strip("[]【】\uff3b\uff3d")
    return f"({body})" if marker.known else marker.raw


def _round_numbers(text: str) -> set[int]:
    return {int(number) for match in _ROUND.finditer(text) for number in re.findall(r"\d+", match[1] or match[2])}


def _is_identifier(character: str) -> bool:
    return character.isalnum() or character in ("_", "]", ")")


def _is_prose(character: str) -> bool:
    return not character or character.isalpha() or character in ",;:.!?\"')]*”»–—`"  # noqa: RUF001 (as people write)
