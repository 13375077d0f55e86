"""Reasoning that a model writes into its answer, ``<think>…</think>`` and its kin, told apart while it is streamed.

A block begins at the beginning of an answer or of a line, and what is not closed is reasoning to the end. A closing tag
without an opening one, which the templates of some models put into the prompt, makes all that came before it reasoning,
if it is at the beginning or the end of a line. All other tags, and those in code, are spoken of: they are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from server.answers import is_blank
from server.engines.models.events import Delta, Reasoning, Retraction

LONGEST_PIECE = 2000  # characters looked at together: each tag copies what follows it
LONGEST_PADDING = 8  # spaces between a closing tag and the end of its line
_NAME = r"(?:\w{1,12}:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)"
_OPENING = rf"<{_NAME}(?:\s[^<>\n]{{0,80}})?>|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
_CLOSING = rf"</{_NAME}\s{{0,3}}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
_TAG = re.compile(rf"(?P<opening>{_OPENING})|{_CLOSING}", re.IGNORECASE)
_CLOSE = re.compile(_CLOSING, re.IGNORECASE)
_BEGUN = re.compile(
    r"(?:</?(?:[\w:]{0,26}(?:\s[^<>\n]{0,80})?)|<\|\w{0,16}\|?|\[/?[A-Z]{0,5}|◁/?\w{0,5})\Z", re.IGNORECASE
)
_FENCE = re.compile(r"\s*(?:>\s*)*(?:[-*+]\s+|\d{1,3}[.)]\s+)?(```+|~~~+)")
_INDENTED = re.compile(r" {4}| {0,3}\t")


def without_reasoning(text: str) -> str:
    """Return a model's text without its reasoning."""
    kept: list[str] = []
    parts = ReasoningFilter()
    for event in (*parts.feed(text), *parts.end()):
        if isinstance(event, Retraction):
            kept.clear()
        elif isinstance(event, Delta):
            kept.append(event.text)
    return "".join(kept)


class ReasoningFilter:
    """Takes a model's pieces; returns its text, its reasoning, and that what came before was reasoning after all.

    Attributes:
        is_unopened: whether the answer has closed a block that it had not opened.

    """

    def __init__(self, *, holds_back: bool = False) -> None:
        """Create it; `holds_back`: keep text until a block is closed or opened, or the end: nothing is retracted."""
        self.is_unopened = False
        self._mode: Literal["text", "reasoning"] = "text"
        self._kept: list[str] | None = [] if holds_back else None
        self._held = ""
        self._line = ""  # of the current line of text, what has been given
        self._ticks = 0  # in it
        self._fence = ""
        self._quoted = 0  # opening tags that are text, whose closing ones are text too
        self._has_text = False
        self._is_after_block = False

    def feed(self, piece: str) -> list[Delta | Reasoning | Retraction]:
        """Return what is known now."""
        events: list[Delta | Reasoning | Retraction] = []
        for start in range(0, len(piece), LONGEST_PIECE):
            self._held += piece[start : start + LONGEST_PIECE]
            events += self._released(self._taken(is_end=False))
        return events

    def end(self) -> list[Delta | Reasoning | Retraction]:
        """Return the rest."""
        events = list(self._released(self._taken(is_end=True)))
        return [*events, *self._let_go(Delta)]

    def _released(self, events: Iterator[Delta | Reasoning | Retraction]) -> Iterator[Delta | Reasoning | Retraction]:
        for event in events:
            if self._kept is None:
                yield event
            elif isinstance(event, Delta):
                self._kept.append(event.text)
            elif isinstance(event, Retraction):
                yield from self._let_go(Reasoning)
            else:
                yield from self._let_go(Delta)
                yield event

    def _let_go(self, kind: type[Delta | Reasoning]) -> Iterator[Delta | Reasoning]:
        """Yield what is held back as text or as reasoning, and hold nothing back any more."""
        text = "".join(self._kept or ())
        self._kept = None
        if text:
            yield kind(text)

    def _taken(self, *, is_end: bool) -> Iterator[Delta | Reasoning | Retraction]:
        while self._held:
            before = (len(self._held), self._mode)
            if self._mode == "text":
                yield from self._text(is_end=is_end)
            else:
                yield from self._reasoning(is_end=is_end)
            if (len(self._held), self._mode) == before:
                return

    def _text(self, *, is_end: bool) -> Iterator[Delta | Retraction]:
        tag = _TAG.search(self._held)
        if tag is None:
            begun = None if is_end else _BEGUN.search(self._held)
            yield from self._given(self._held[: begun.start()] if begun else self._held)
            self._held = self._held[begun.start() :] if begun else ""
            return
        yield from self._given(self._held[: tag.start()])
        self._held = self._held[tag.start() :]
        length = tag.end() - tag.start()
        if tag["opening"] is not None:
            counts: bool | None = not self._is_in_code and self._begins_line
            self._quoted += not counts
        elif self._is_in_code or self._quoted:
            counts = False
            self._quoted = max(0, self._quoted - 1)
        else:
            counts = self._begins_line or self._ends_line(length, is_end=is_end)
        if counts is None:
            return
        spoken_of, self._held = self._held[:length], self._held[length:]
        if not counts:
            yield from self._given(spoken_of)
        elif tag["opening"] is not None:
            self._mode = "reasoning"
        else:
            yield from self._closed_unopened()

    def _closed_unopened(self) -> Iterator[Retraction]:
        had_text = self._has_text
        self.is_unopened, self._is_after_block = True, True
        self._has_text, self._line, self._ticks, self._fence = False, "", 0, ""
        if had_text or self._kept is not None:
            yield Retraction()

    def _reasoning(self, *, is_end: bool) -> Iterator[Reasoning]:
        closing = _CLOSE.search(self._held)
        if closing is not None:
            yield from self._closed(closing)
            return
        begun = None if is_end else _BEGUN.search(self._held)
        thought = self._held[: begun.start()] if begun else self._held
        self._held = self._held[len(thought) :]
        if thought:
            yield Reasoning(thought)

    def _closed(self, closing: re.Match[str]) -> Iterator[Reasoning]:
        if thought := self._held[: closing.start()]:
            yield Reasoning(thought)
        self._held = self._held[closing.end() :]
        self._mode, self._is_after_block = "text", True

    def _given(self, text: str) -> Iterator[Delta]:
        if self._is_after_block and (not self._has_text or self._line[-1:].isspace() or not self._line):
            text = text.lstrip()
        if not text:
            return
        self._is_after_block = False
        self._has_text = self._has_text or not is_blank(text)
        for line in text.splitlines(keepends=True):
            self._line += line
            self._ticks += line.count("`")
            if line.endswith("\n"):
                self._end_line()
        yield Delta(text)

    def _end_line(self) -> None:
        run = _FENCE.match(self._line)
        if self._fence:
            if run and run[1].startswith(self._fence):
                self._fence = ""
        elif run and "`" not in self._line[run.end() :]:
            self._fence = run[1]
        self._line, self._ticks = "", 0

    @property
    def _is_in_code(self) -> bool:
        return bool(self._fence or _INDENTED.match(self._line)) or self._ticks % 2 == 1

    @property
    def _begins_line(self) -> bool:
        return is_blank(self._line)

    def _ends_line(self, length: int, *, is_end: bool) -> bool | None:
        """Tell whether a line ends after the tag at the beginning of what is held; None if that is not known yet."""
        rest = self._held[length : length + LONGEST_PADDING + 1]
        after = rest.lstrip(" \t")
        if after:
            return after[0] in "\r\n"
        if len(rest) > LONGEST_PADDING:
            return False
        return True if is_end else None
