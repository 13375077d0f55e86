"""Reasoning that a model writes into its answer, ``<think>…</think>`` and its kin, told apart while it is streamed.

A block that is not closed is reasoning to the end. A closing tag without an opening one, which the templates of some
models put into the prompt, makes all that came before it reasoning. Tags in code are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from server.engines.models.events import Delta, Reasoning, Retraction

LONGEST_TAG = 120  # characters
LONGEST_HEAD = 500  # characters of an answer in which its first opening tag is looked for
_NAME = r"(?:\w{1,12}:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)"
_OPENING = rf"<{_NAME}(?:\s[^<>\n]{{0,80}})?>|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
_CLOSING = rf"</{_NAME}\s{{0,3}}>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
_TAG = re.compile(rf"(?P<opening>{_OPENING})|{_CLOSING}", re.IGNORECASE)
_OPEN = re.compile(_OPENING, re.IGNORECASE)
_CLOSE = re.compile(_CLOSING, re.IGNORECASE)
_BEGUN = re.compile(
    r"(?:</?(?:[\w:]{0,26}(?:\s[^<>\n]{0,80})?)|<\|\w{0,16}\|?|\[/?[A-Z]{0,5}|◁/?\w{0,5})\Z", re.IGNORECASE
)
_FENCE = re.compile(r"\s*(?:>\s*)*(?:[-*+]\s+|\d{1,3}[.)]\s+)?(```+|~~~+)")
_SENTENCE_ENDS = ".!?:;…。！？\"'”’)]*`"  # noqa: RUF001 (as people write)


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
        is_unopened: whether the model's reasoning has no opening tag. If it is true at the beginning, text is held back
            until the closing tag, or the end.

    """

    def __init__(self, *, is_unopened: bool = False) -> None:
        self.is_unopened = is_unopened
        self._mode: Literal["text", "reasoning", "unopened"] = "unopened" if is_unopened else "text"
        self._held = ""
        self._searched = 0  # so much of what is held has no closing tag
        self._line = ""  # of the current line of text, what has been given
        self._fence = ""
        self._quoted = 0  # opening tags in code, whose closing ones are text too
        self._has_text = False
        self._is_after_block = False

    def feed(self, piece: str) -> list[Delta | Reasoning | Retraction]:
        """Return what is known now."""
        self._held += piece
        return list(self._taken(is_end=False))

    def end(self, *, is_cut: bool = False) -> list[Delta | Reasoning | Retraction]:
        """Return the rest; `is_cut`: the model would have written more."""
        if self._mode == "unopened":
            self._mode = "reasoning" if is_cut and not _TAG.search(self._held) else "text"
            self.is_unopened = is_cut
        return list(self._taken(is_end=True))

    def _taken(self, *, is_end: bool) -> Iterator[Delta | Reasoning | Retraction]:
        while self._held:
            before = (len(self._held), self._mode)
            if self._mode == "text":
                yield from self._text(is_end=is_end)
            elif self._mode == "reasoning":
                yield from self._reasoning(is_end=is_end)
            elif _OPEN.match(self._held[:LONGEST_HEAD].lstrip()):
                self._mode, self._searched = "text", 0
            elif closing := self._found_closing():
                yield from self._closed(closing)
            if (len(self._held), self._mode) == before:
                return

    def _text(self, *, is_end: bool) -> Iterator[Delta | Reasoning | Retraction]:
        tag = _TAG.search(self._held)
        if tag is None:
            begun = None if is_end else _BEGUN.search(self._held)
            yield from self._given(self._held[: begun.start()] if begun else self._held)
            self._held = self._held[begun.start() :] if begun else ""
            return
        yield from self._given(self._held[: tag.start()])
        if tag.start():
            self._held, self._searched = self._held[tag.start() :], 0
        length = tag.end() - tag.start()
        is_opening = tag["opening"] is not None
        if self._is_in_code or (not is_opening and self._quoted):
            self._quoted = max(0, self._quoted + (1 if is_opening else -1))
            yield from self._given(self._held[:length])
            self._held = self._held[length:]
        elif not is_opening:
            self._held = self._held[length:]
            self._is_after_block = True
            if self._has_text:
                self.is_unopened, self._has_text, self._line, self._fence = True, False, "", ""
                yield Retraction()
        elif self._begins_sentence:
            self._held = self._held[length:]
            self._mode = "reasoning"
        elif closing := self._found_closing():
            yield Reasoning(self._held[length : closing.start()])
            self._held = self._held[closing.end() :]
            self._is_after_block = True
        elif is_end:  # a tag that is only spoken of
            yield from self._given(self._held)
            self._held = ""

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

    def _found_closing(self) -> re.Match[str] | None:
        """Find the closing tag in what is held, which may be most of an answer, without searching it from its start."""
        closing = _CLOSE.search(self._held, max(0, self._searched - LONGEST_TAG))
        self._searched = 0 if closing else len(self._held)
        return closing

    def _given(self, text: str) -> Iterator[Delta]:
        if self._is_after_block and (not self._has_text or self._line[-1:].isspace() or not self._line):
            text = text.lstrip()
        if not text:
            return
        self._is_after_block = False
        self._has_text = self._has_text or not text.isspace()
        for line in text.splitlines(keepends=True):
            self._line += line
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
        self._line = ""

    @property
    def _is_in_code(self) -> bool:
        return bool(self._fence) or self._line.count("`") % 2 == 1

    @property
    def _begins_sentence(self) -> bool:
        before = self._line.rstrip()
        return not before or before[-1] in _SENTENCE_ENDS
